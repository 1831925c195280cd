#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

#[test]
fn what_is_packed_unpacks_to_the_last_byte() {
    let mut packer = Packer::default();
    packer.u8(7);
    packer.u64(u64::MAX);
    packer.text("ä");
    packer.bytes(&[0, 255]);
    packer.digest(&Digest([9; 32]));
    packer.maybe(Some(3), Packer::u32);
    packer.maybe(None, Packer::u32);
    let mut reader = Unpacker::new(&packer.0);
    assert_eq!(reader.u8(), Some(7));
    assert_eq!(reader.u64(), Some(u64::MAX));
    assert_eq!(reader.text(), Some("ä"));
    assert_eq!(reader.bytes(), Some(&[0u8, 255][..]));
    assert_eq!(reader.digest(), Some(Digest([9; 32])));
    assert_eq!(reader.maybe(Unpacker::u32), Some(Some(3)));
    assert_eq!(reader.maybe(Unpacker::u32), Some(None));
    assert!(reader.is_at_end());
    assert_eq!(reader.u8(), None);
}

#[test]
fn a_count_beyond_what_is_there_is_refused_before_room_is_made() {
    let claims = u32::MAX.to_le_bytes();
    assert_eq!(Unpacker::new(&claims).count(1), None);
    assert_eq!(Unpacker::new(&claims).bytes(), None);
    let three = [3, 0, 0, 0, 1, 2, 3];
    assert_eq!(Unpacker::new(&three).count(1).unwrap(), 3);
    assert_eq!(Unpacker::new(&three).count(2), None);
}
