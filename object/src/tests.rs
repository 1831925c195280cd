#![expect(clippy::unwrap_used, reason = "a test")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::digest::{self, Digest, Forgetful};
use engine::store::tier::sweep;

use super::*;

/// A file of so many bytes in `directory`, as a blob.
fn file_of(directory: &Path, bytes: usize) -> (PathBuf, Blob) {
    let path = directory.join(format!("file-{bytes}"));
    let content: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect();
    std::fs::write(&path, content).unwrap();
    blob_of(path)
}

fn blob_of(path: PathBuf) -> (PathBuf, Blob) {
    let content = digest::content(&path, &Forgetful).unwrap();
    let blob = Blob { digest: content.digest, bytes: content.bytes, shape: content.shape };
    (path, blob)
}

fn tree_in(directory: &Path) -> (PathBuf, Blob) {
    let path = directory.join("tree");
    std::fs::create_dir_all(path.join("deep/er")).unwrap();
    std::fs::create_dir_all(path.join("empty")).unwrap();
    std::fs::write(path.join("deep/er/a file"), vec![1; 5000]).unwrap();
    std::fs::write(path.join("run"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(path.join("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("deep/er/a file", path.join("link")).unwrap();
    blob_of(path)
}

/// What every tier must do.
fn behaves(tier: &dyn Tier) {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let record = Name::Record("1".repeat(64).parse().unwrap());
    assert_eq!(tier.get(&record, 100), Ok(None));
    assert_eq!(tier.put_if_absent(&record, b"first"), Ok(true));
    assert_eq!(tier.put_if_absent(&record, b"second"), Ok(false));
    assert_eq!(tier.get(&record, 100), Ok(Some(b"first".to_vec())));
    assert_eq!(tier.get(&record, 4), Ok(None), "it is longer than a record may be");
    let root = Name::Root("2".repeat(64));
    tier.put(&root, b"one").unwrap();
    tier.put(&root, b"two").unwrap();
    assert_eq!(tier.get(&root, 100), Ok(Some(b"two".to_vec())));
    let blobs = [file_of(scratch.path(), 0), file_of(scratch.path(), 5000), tree_in(scratch.path())];
    let large = file_of(scratch.path(), usize::try_from(PART_BYTES).unwrap() * 2 + 12_345);
    for (at_number, (path, blob)) in blobs.iter().chain([&large]).enumerate() {
        let to = at(&format!("fetched-{at_number}"));
        assert_eq!(tier.fetch(blob, &to, &|_| {}), Ok(false));
        let moved = AtomicU64::new(0);
        let count = |bytes| {
            moved.fetch_add(bytes, Ordering::Relaxed);
        };
        tier.push(blob, path, &count).unwrap();
        tier.push(blob, path, &|_| panic!("it is there")).unwrap();
        assert!(moved.load(Ordering::Relaxed) >= blob.bytes);
        assert_eq!(tier.fetch(blob, &to, &|_| {}), Ok(true));
        assert_eq!(blob_of(to).1, *blob);
    }
    let wrong = Blob { bytes: large.1.bytes - 1, ..large.1 };
    assert_eq!(tier.fetch(&wrong, &at("wrong"), &|_| {}), Ok(false), "it has another size");
    let listed = tier.list().unwrap();
    assert_eq!(listed.len(), 6, "{listed:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(listed.iter().all(|item| item.at.unsigned_abs().abs_diff(now) < 600), "{listed:?}");
    tier.delete(&Name::Blob(large.1.digest)).unwrap();
    tier.delete(&Name::Blob(large.1.digest)).unwrap();
    assert_eq!(tier.list().unwrap().len(), 5);
    // The root is none that can be read: nothing is swept without it.
    assert!(sweep::sweep(tier, i64::MAX).is_err());
}

#[test]
fn objects_as_files_behave() {
    let directory = tempfile::tempdir().unwrap();
    behaves(&*address::file(&format!("file://{}/made", directory.path().display())).unwrap());
}

#[test]
fn a_hostile_pack_writes_nothing_outside() {
    let scratch = tempfile::tempdir().unwrap();
    let entry = |sort: u8, name: &str, bytes: &[u8]| {
        let mut entry = vec![sort];
        entry.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        entry.extend(name.as_bytes());
        entry.extend((bytes.len() as u64).to_le_bytes());
        entry.extend(bytes);
        entry
    };
    let outside = scratch.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let link = outside.display().to_string();
    let packs: [Vec<Vec<u8>>; 6] = [
        vec![entry(b'f', "../outside/file", b"x")],
        vec![entry(b'f', &format!("{link}/file"), b"x")],
        vec![entry(b'l', "a", link.as_bytes()), entry(b'f', "a/file", b"x")],
        vec![entry(b'd', "a", b""), entry(b'f', "a/../../outside/file", b"x")],
        vec![entry(b'f', "large", &[0; 101])],
        vec![entry(b'?', "what", b"")],
    ];
    for (at, entries) in packs.into_iter().enumerate() {
        let (pack, to) = (scratch.path().join(format!("{at}.pack")), scratch.path().join(at.to_string()));
        std::fs::write(&pack, [b"pipepak1".to_vec(), entries.concat()].concat()).unwrap();
        assert!(pack::unpack(&pack, &to, 100).is_err(), "{at}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{at}");
    }
}

/// A real server on this machine; `None`, and words on what is missing, where it cannot be started.
struct Server {
    /// Kept from run to run: the first installs the server into it.
    directory: PathBuf,
    scripts: PathBuf,
    environment: Vec<(String, String)>,
}

impl Server {
    fn start() -> Option<Server> {
        let scripts = std::env::var_os("PIPE_TEST_DATA").map(|root| PathBuf::from(root).join("s3"));
        let Some(scripts) = scripts.filter(|path| path.join("start-s3.sh").exists()) else {
            eprintln!("not run: set PIPE_TEST_DATA to a directory that holds `s3/start-s3.sh`");
            return None;
        };
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/s3-test");
        let output = Command::new(scripts.join("start-s3.sh")).arg(&directory).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            eprintln!("not run: the server cannot be started: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        let words = text.replace("export ", " ").replace(';', " ");
        let pairs = words.split_whitespace().filter_map(|word| word.split_once('='));
        let unquoted = |value: &str| value.trim_matches(['"', '\'']).to_owned();
        let environment = pairs.map(|(name, value)| (name.to_owned(), unquoted(value))).collect();
        Some(Server { directory, scripts, environment })
    }

    fn said(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found.map_or_else(|| panic!("no {name} in {:?}", self.environment), |(_, value)| value)
    }

    fn tier(&self) -> Objects {
        let retry = object_store::RetryConfig {
            max_retries: 1,
            retry_timeout: Duration::from_secs(2),
            ..object_store::RetryConfig::default()
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = object_store::aws::AmazonS3Builder::new()
            .with_endpoint(self.said("AWS_ENDPOINT"))
            .with_access_key_id(self.said("AWS_ACCESS_KEY_ID"))
            .with_secret_access_key(self.said("AWS_SECRET_ACCESS_KEY"))
            .with_region(self.said("AWS_REGION"))
            .with_bucket_name(self.said("S3_TEST_BUCKET"))
            .with_allow_http(true)
            .with_retry(retry)
            .build()
            .unwrap();
        Objects::new(Arc::new(store), "a/prefix", "`s3://test`".to_owned()).unwrap()
    }

    fn stop(&self) {
        let _ = Command::new(self.scripts.join("stop-s3.sh")).arg(&self.directory).output();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn a_real_server_behaves_and_its_death_in_mid_transfer_is_an_error_that_shows_no_secret() {
    let Some(server) = Server::start() else { return };
    behaves(&server.tier());
    let tier = server.tier();
    let scratch = tempfile::tempdir().unwrap();
    let (path, blob) = file_of(scratch.path(), usize::try_from(PART_BYTES).unwrap() * 6);
    tier.push(&blob, &path, &|_| {}).unwrap();
    let to = scratch.path().join("cut");
    let cut = tier.fetch(&blob, &to, &|_| server.stop());
    let error = cut.unwrap_err();
    let secrets = [server.said("AWS_SECRET_ACCESS_KEY"), server.said("AWS_ACCESS_KEY_ID")];
    assert!(secrets.iter().all(|secret| !error.contains(secret)), "{error}");
    assert_ne!(digest::content(&to, &Forgetful).map(|c| c.digest).ok(), Some(blob.digest));
    assert!(tier.push(&Blob { digest: Digest([9; 32]), ..blob }, &path, &|_| {}).is_err());
    assert!(tier.get(&Name::Root("3".repeat(64)), 10).is_err());
}
