//! How a store is found or made, and what is done where it cannot be written.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use super::settings::{Check, Settings};
use super::tier::{Access, Directory, Remote};
use super::{FORMAT, Heart, Modes, Store, StoreError, TAG, failed};

/// What is made in a new cache.
const DIRECTORIES: [&str; 7] = ["blobs", "records", "reserved", "roots", "pins", "attempts", "trash"];

impl Store {
    /// Opens the store at `root` (made absolute), making what is not there.
    ///
    /// # Errors
    /// When it cannot be made, or is of another format.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        Store::open_with(root, Settings::default())
    }

    /// The same with `settings`. A store that this user can only read is asked as another tier of one that lies where
    /// `settings.local` says.
    ///
    /// # Errors
    /// When it cannot be made, or is of another format.
    pub fn open_with(root: &Path, settings: Settings) -> Result<Store, StoreError> {
        if !is_only_read(root) {
            make(root)?;
            return Store::attach(root, settings);
        }
        let Some(local) = settings.local.clone() else { return Store::attach(root, settings) };
        let read = Store::attach(root, Settings::default())?;
        let note = format!(
            "the cache `{}` can only be read: its results are used, and what is computed now is kept in `{}`",
            read.root.display(),
            local.display()
        );
        make(&local)?;
        let mut store = Store::attach(&local, settings)?;
        store.remotes.insert(0, Remote::new(Arc::new(Directory::of(read)), Access::Read));
        store.notes.insert(0, note);
        Ok(store)
    }

    /// The store that is at `root`; nothing is made.
    fn attach(root: &Path, settings: Settings) -> Result<Store, StoreError> {
        let root = root.canonicalize().map_err(failed("find the cache directory", root))?;
        check_format(&root)?;
        let modes = Modes::of(&root).map_err(failed("look at", &root))?;
        let mut notes = settings.notes;
        let signs_as = settings.key.as_ref().map(super::SecretKey::public);
        if !settings.trust.is_empty() && signs_as.is_none_or(|key| !settings.trust.contains(&key)) {
            notes.push(match signs_as {
                None => "this project trusts signed records only, and you have no key: what you compute will not be \
                         found again by it; `pipe key new` makes one"
                    .to_owned(),
                Some(key) => format!(
                    "this project does not trust your key {key}: what you compute will not be found again by it"
                ),
            });
        }
        // A signature vouches for digests; whether the bytes are those is seen only by looking.
        let check = if settings.trust.is_empty() { Check::Size } else { Check::FirstUse };
        Ok(Store {
            root,
            salt: settings.salt,
            modes,
            heart: Arc::new(Heart::default()),
            remotes: settings.tier.into_iter().map(|tier| Remote::new(tier, Access::Give)).collect(),
            push: settings.push,
            check: settings.check.unwrap_or(check),
            trust: settings.trust,
            key: settings.key,
            notes,
            disowned: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// What is to be told to people of how it was opened.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Whether a cache is there that this user can read and not write.
fn is_only_read(root: &Path) -> bool {
    use rustix::fs::{Access as May, access};
    let refuses = |path: &Path| {
        let refused = access(path, May::WRITE_OK);
        matches!(refused, Err(rustix::io::Errno::ROFS | rustix::io::Errno::ACCESS | rustix::io::Errno::PERM))
    };
    root.join("format").is_file()
        && [root.to_owned(), root.join("records"), root.join("blobs")].iter().any(|p| refuses(p))
}

/// Makes a cache at `root`, or what is missing of one.
fn make(root: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(root).map_err(failed("make the cache directory", root))?;
    let modes = Modes::of(root).map_err(failed("look at", root))?;
    for directory in DIRECTORIES {
        let path = root.join(directory);
        if !path.is_dir() {
            modes.make(&path).map_err(failed("make", &path))?;
        }
    }
    let format = root.join("format");
    if format.symlink_metadata().is_err() {
        let store = Store::attach_new(root, modes);
        store.publish(&root.join("CACHEDIR.TAG"), TAG.as_bytes())?;
        store.publish(&format, FORMAT.as_bytes())?;
    }
    Ok(())
}

impl Store {
    /// What writes the first files of a new cache.
    fn attach_new(root: &Path, modes: Modes) -> Store {
        Store {
            root: root.to_owned(),
            salt: String::new(),
            modes,
            heart: Arc::new(Heart::default()),
            remotes: Vec::new(),
            push: super::Push::None,
            check: Check::Size,
            trust: Vec::new(),
            key: None,
            notes: Vec::new(),
            disowned: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }
}

fn check_format(root: &Path) -> Result<(), StoreError> {
    let path = root.join("format");
    match std::fs::read_to_string(&path) {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(found) => Err(StoreError::Format { path: root.to_owned(), found }),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Err(StoreError::Format { path: root.to_owned(), found: String::new() })
        }
        Err(e) => Err(failed("read", &path)(e)),
    }
}
