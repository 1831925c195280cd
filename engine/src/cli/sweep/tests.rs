use std::path::PathBuf;

use super::*;
use crate::store::gc::Item;

#[test]
fn a_sweep_is_told_by_reason_with_what_it_frees_and_costs() {
    let item =
        |why, bytes, seconds: u64| Item { path: PathBuf::from("x"), bytes, why, recompute_ns: seconds * 1_000_000_000 };
    let sweep = Sweep {
        items: vec![
            item(Why::Unneeded, 700, 90),
            item(Why::Unneeded, 900, 30),
            item(Why::Unnamed, 5 << 20, 0),
            item(Why::Expired, 4096, 0),
        ],
        kept: 1200,
        kept_bytes: 3 << 30,
    };
    insta::assert_snapshot!(tell(&sweep, Paint::Bare), @"
        2     1.6 KiB  records that no latest run and no pin names, 2 min 00 s to compute again
        1     5.0 MiB  blobs that no kept record names
        1     4.0 KiB  in the trash, past their grace: deleted for good
    1,200     3.0 GiB  stay
    ");
}
