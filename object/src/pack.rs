//! A tree as one object: entry after entry, parents first, names sorted.
//!
//! ```text
//! entry = sort (1: d directory, f file, x executable file, l link), path length (4), path, length (8), bytes
//! ```
//! Numbers are little-endian. Whoever made a pack may be anybody: a name is one step below a directory that the same
//! pack made, nothing is written through a link, and files together are no larger than announced. What a link says is
//! looked at by who digests the tree.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use engine::store::tier::TierError;

/// Begins a pack.
const MAGIC: &[u8; 8] = b"pipepak1";
/// Longer paths and links are damage.
const LONGEST_PATH: usize = 4096;

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> TierError {
    let path = path.display().to_string();
    move |e| format!("`{path}`: {e}")
}

/// Packs the tree at `from` into the new file `to`.
///
/// # Errors
/// When something cannot be read or written.
pub(super) fn pack(from: &Path, to: &Path) -> Result<(), TierError> {
    let mut out = BufWriter::new(File::create(to).map_err(failed(to))?);
    out.write_all(MAGIC).map_err(failed(to))?;
    directory(from, Path::new(""), &mut out)?;
    out.flush().map_err(failed(to))
}

fn directory(from: &Path, below: &Path, out: &mut impl Write) -> Result<(), TierError> {
    let mut entries: Vec<_> =
        std::fs::read_dir(from).and_then(Iterator::collect::<Result<_, _>>).map_err(failed(from))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), below.join(entry.file_name()));
        let metadata = std::fs::symlink_metadata(&path).map_err(failed(&path))?;
        let mut head = |sort: u8, length: u64| -> std::io::Result<()> {
            let name = name.as_os_str().as_bytes();
            out.write_all(&[sort])?;
            out.write_all(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes())?;
            out.write_all(name)?;
            out.write_all(&length.to_le_bytes())
        };
        if metadata.is_dir() {
            head(b'd', 0).map_err(failed(&path))?;
            directory(&path, &name, out)?;
        } else if metadata.is_symlink() {
            let text = std::fs::read_link(&path).map_err(failed(&path))?;
            head(b'l', text.as_os_str().len() as u64).map_err(failed(&path))?;
            out.write_all(text.as_os_str().as_bytes()).map_err(failed(&path))?;
        } else {
            let sort = if metadata.permissions().mode() & 0o100 != 0 { b'x' } else { b'f' };
            head(sort, metadata.len()).map_err(failed(&path))?;
            let mut file = File::open(&path).map_err(failed(&path))?;
            let copied = std::io::copy(&mut file, out).map_err(failed(&path))?;
            if copied != metadata.len() {
                return Err(format!("`{}` changed while it was packed", path.display()));
            }
        }
    }
    Ok(())
}

/// Unpacks the file `from` into the new directory `to`; all files together have no more than `most` bytes.
///
/// # Errors
/// When it is no pack, or would write where it must not, or cannot.
pub(super) fn unpack(from: &Path, to: &Path, most: u64) -> Result<(), TierError> {
    let mut pack = BufReader::new(File::open(from).map_err(failed(from))?);
    let mut magic = [0; 8];
    pack.read_exact(&mut magic).map_err(failed(from))?;
    if &magic != MAGIC {
        return Err("it is no packed tree".to_owned());
    }
    std::fs::create_dir(to).map_err(failed(to))?;
    let mut directories = BTreeSet::from([PathBuf::new()]);
    let mut left = most;
    while let Some((sort, name, length)) = head(&mut pack).map_err(failed(from))? {
        let name = PathBuf::from(OsStr::from_bytes(&name));
        let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
        let parent = name.parent().filter(|parent| plain && directories.contains(*parent));
        if parent.is_none() {
            return Err(format!("the packed tree holds `{}`, which lies in none of its directories", name.display()));
        }
        let path = to.join(&name);
        match sort {
            b'd' => {
                std::fs::create_dir(&path).map_err(failed(&path))?;
                directories.insert(name);
            }
            b'l' => {
                let mut text = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(LONGEST_PATH)];
                pack.read_exact(&mut text).map_err(failed(from))?;
                symlink(OsStr::from_bytes(&text), &path).map_err(failed(&path))?;
            }
            b'f' | b'x' => {
                left = left.checked_sub(length).ok_or("the packed tree is larger than it should be")?;
                let mut file = File::create_new(&path).map_err(failed(&path))?;
                let copied = std::io::copy(&mut (&mut pack).take(length), &mut file).map_err(failed(&path))?;
                if copied != length {
                    return Err("the packed tree is cut short".to_owned());
                }
                let mode = if sort == b'x' { 0o755 } else { 0o644 };
                file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed(&path))?;
            }
            _ => return Err("the packed tree holds something of no known sort".to_owned()),
        }
    }
    Ok(())
}

/// The next entry's sort, name and length; `None` at the end.
fn head(pack: &mut impl Read) -> std::io::Result<Option<(u8, Vec<u8>, u64)>> {
    let mut sort = [0];
    if pack.read(&mut sort)? == 0 {
        return Ok(None);
    }
    let mut number = [0; 4];
    pack.read_exact(&mut number)?;
    let long = u32::from_le_bytes(number) as usize;
    if long > LONGEST_PATH {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a name in it is too long"));
    }
    let mut name = vec![0; long];
    pack.read_exact(&mut name)?;
    let mut length = [0; 8];
    pack.read_exact(&mut length)?;
    Ok(Some((sort[0], name, u64::from_le_bytes(length))))
}
