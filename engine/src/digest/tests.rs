#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Mutex;

use super::*;

fn digest(path: &Path) -> Digest {
    content(path, &Forgetful).unwrap().digest
}

/// A tree of every sort of thing that can be kept.
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    std::fs::create_dir_all(at("deep/er")).unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    std::fs::write(at("a"), "1").unwrap();
    std::fs::write(at("deep/er/b"), "2").unwrap();
    std::fs::write(root.path().join(OsStr::from_bytes(b"not \xff utf-8")), "3").unwrap();
    symlink("deep/er/b", at("link")).unwrap();
    symlink("../../nothing", at("deep/er/up")).unwrap();
    root
}

#[test]
fn a_files_digest_is_what_b3sum_prints() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(
        digest(file.path()).to_string(),
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        "the digest of no bytes, from the BLAKE3 test vectors"
    );
    for length in [1, 4095, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7] {
        let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        assert_eq!(digest(file.path()), Digest::of(&bytes), "{length} bytes");
    }
}

#[test]
fn equal_trees_have_equal_digests_wherever_they_lie() {
    assert_eq!(digest(tree().path()), digest(tree().path()));
}

#[test]
fn everything_in_a_tree_counts() {
    type Change = (&'static str, fn(&Path));
    let changes: Vec<Change> = vec![
        ("bytes", |root| std::fs::write(root.join("deep/er/b"), "x").unwrap()),
        ("a name", |root| std::fs::rename(root.join("a"), root.join("z")).unwrap()),
        ("a further file", |root| std::fs::write(root.join("more"), "").unwrap()),
        ("an empty directory less", |root| std::fs::remove_dir(root.join("empty")).unwrap()),
        ("an empty directory more", |root| std::fs::create_dir(root.join("deep/empty")).unwrap()),
        ("the executable bit", |root| {
            std::fs::set_permissions(root.join("a"), std::fs::Permissions::from_mode(0o744)).unwrap();
        }),
        ("the text of a link", |root| {
            std::fs::remove_file(root.join("link")).unwrap();
            symlink("./deep/er/b", root.join("link")).unwrap();
        }),
        ("a file in the place of a link", |root| {
            std::fs::remove_file(root.join("link")).unwrap();
            std::fs::write(root.join("link"), "deep/er/b").unwrap();
        }),
        ("a directory in the place of a file", |root| {
            std::fs::remove_file(root.join("a")).unwrap();
            std::fs::create_dir(root.join("a")).unwrap();
        }),
    ];
    let plain = digest(tree().path());
    for (what, change) in changes {
        let root = tree();
        change(root.path());
        assert_ne!(digest(root.path()), plain, "{what}");
    }
}

#[test]
fn times_and_other_permissions_do_not_count() {
    let root = tree();
    std::fs::set_permissions(root.path().join("a"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = File::open(root.path().join("a")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(digest(root.path()), digest(tree().path()));
}

#[test]
fn a_link_that_leaves_its_tree_is_refused() {
    for text in ["/etc/passwd", "../outside", "deep/../../outside"] {
        let root = tree();
        symlink(text, root.path().join("bad")).unwrap();
        let error = content(root.path(), &Forgetful).unwrap_err();
        assert!(matches!(&error, DigestError::Leaves { target, .. } if target == Path::new(text)), "{error}");
    }
}

#[test]
fn sockets_and_pipes_are_refused_by_name() {
    let root = tree();
    let path = root.path().join("deep/socket");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = content(root.path(), &Forgetful).unwrap_err();
    assert!(error.to_string().contains("is a socket"), "{error}");
    let error = content(&path, &Forgetful).unwrap_err();
    assert!(error.to_string().contains("is a socket"), "{error}");
    let error = content(Path::new("/dev/null"), &Forgetful).unwrap_err();
    assert!(error.to_string().contains("is a device"), "{error}");
}

#[test]
fn a_tree_and_a_file_never_share_a_digest() {
    let root = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_ne!(digest(root.path()), digest(file.path()), "an empty tree and an empty file");
}

#[test]
fn a_glance_changes_whenever_a_file_is_touched() {
    let root = tree();
    let before = content(root.path(), &Forgetful).unwrap();
    assert_eq!(glance(root.path()).unwrap(), before.glance);
    std::fs::write(root.path().join("a"), "1").unwrap();
    assert_ne!(glance(root.path()).unwrap(), before.glance);
    assert_eq!(digest(root.path()), before.digest);
}

/// Remembers everything, and counts what it was asked to keep.
#[derive(Default)]
struct Diligent(Mutex<HashMap<PathBuf, (Stamp, Digest)>>);

impl Remember for Diligent {
    fn recall(&self, path: &Path, stamp: &Stamp) -> Option<Digest> {
        self.0.lock().unwrap().get(path).filter(|(known, _)| known == stamp).map(|(_, digest)| *digest)
    }
    fn keep(&self, path: &Path, stamp: &Stamp, digest: Digest) {
        self.0.lock().unwrap().insert(path.to_owned(), (*stamp, digest));
    }
}

#[test]
fn a_file_whose_stamp_is_known_is_not_read() {
    let memory = Diligent::default();
    let root = tree();
    let truth = content(root.path(), &memory).unwrap();
    assert_eq!(memory.0.lock().unwrap().len(), 3);
    // A memory that lies is believed: that nothing was read shows in nothing else.
    let path = root.path().join("a");
    memory.0.lock().unwrap().get_mut(&path).unwrap().1 = Digest([1; 32]);
    assert_ne!(content(root.path(), &memory).unwrap().digest, truth.digest);
    // A new content has a new stamp, and the lie is forgotten.
    std::fs::write(&path, "1 and more").unwrap();
    std::fs::write(&path, "1").unwrap();
    assert_eq!(content(root.path(), &memory).unwrap().digest, truth.digest);
}

#[test]
fn a_stamp_is_racy_until_its_clock_has_ticked() {
    let stamp = Stamp { inode: 1, bytes: 1, mtime_ns: 5_000_000_001, ctime_ns: 4_000_000_000, mode: 0 };
    assert!(stamp.racy_at(5_000_000_001));
    assert!(stamp.racy_at(5_019_999_999));
    assert!(!stamp.racy_at(5_020_000_001));
    // A file from the future is never trusted.
    assert!(stamp.racy_at(0));
    // Whole seconds are the mark of a file system that counts in them.
    let coarse = Stamp { mtime_ns: 5_000_000_000, ..stamp };
    assert!(coarse.racy_at(6_900_000_000));
    assert!(!coarse.racy_at(7_000_000_000));
}

#[test]
fn a_digest_has_one_spelling() {
    let digest = Digest::of(b"x");
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
    assert!(digest.to_string()[1..].parse::<Digest>().is_err());
    assert!("g".repeat(64).parse::<Digest>().is_err());
}
