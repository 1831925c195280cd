//! `pipe key` and `pipe gc --shared`: whose records are believed, and what nobody needs of the shared tier.

use std::process::ExitCode;

use super::arguments::{Gc, KeyVerb};
use super::trouble::Trouble;
use super::{here, open, say};
use crate::error::Exit;
use crate::kind::Program;
use crate::load;
use crate::report::{bytes, count};
use crate::store::gc::LEAST_GRACE;
use crate::store::sign::SecretKey;
use crate::store::tier::{Name, sweep};

/// `pipe key`.
pub(super) fn key(verb: KeyVerb) -> Result<ExitCode, Trouble> {
    let path = SecretKey::usual().ok_or_else(|| {
        Trouble::mistake("you have no home directory to keep a key in").help("name a file by `PIPE_KEY`")
    })?;
    let key = match verb {
        KeyVerb::New => SecretKey::make(&path).map_err(Trouble::mistake)?,
        KeyVerb::Show => SecretKey::read(&path).map_err(Trouble::mistake)?.ok_or_else(|| {
            Trouble::mistake(format!("there is no key at `{}`", path.display())).help("`pipe key new` makes one")
        })?,
    };
    say(&format!("{}\n", key.public()));
    Ok(Exit::Good.into())
}

/// `pipe gc --shared`.
pub(super) fn gc(program: &Program, options: &Gc) -> Result<ExitCode, Trouble> {
    let root = here::root(&open::current_directory()?);
    let project = load::project(&root)?;
    let Some(address) = &project.cache.shared else {
        return Err(Trouble::mistake("this project has no shared tier").help("`[cache] shared` in pipe.toml names one"));
    };
    let tier = open::tier(program, address, &project)?.map_err(Trouble::internal)?;
    let now = jiff::Timestamp::now().as_second();
    let grace = i64::try_from(options.grace.max(LEAST_GRACE).as_secs()).unwrap_or(i64::MAX);
    let swept = sweep::sweep(&*tier, now.saturating_sub(grace)).map_err(Trouble::internal)?;
    for (words, is_record) in [("records that no project needs", true), ("blobs that no kept record names", false)] {
        let of = swept.goes.iter().filter(|item| matches!(item.name, Name::Record(_)) == is_record);
        let (number, size) = of.fold((0, 0), |(number, size), item| (number + 1, size + item.bytes));
        if number > 0 {
            say(&format!("{:>8}  {:>10}  {words}\n", count(number), bytes(size)));
        }
    }
    say(&format!("{:>8}  {:>10}  stay\n", count(swept.kept as u64), bytes(swept.kept_bytes)));
    if !options.plan {
        sweep::carry_out(&*tier, &swept).map_err(Trouble::internal)?;
    }
    Ok(Exit::Good.into())
}
