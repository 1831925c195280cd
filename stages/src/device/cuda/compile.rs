//! Kernel text to machine code by NVRTC, kept on disk by content.
//!
//! The name of a cached file is a digest of everything the code depends on: text, options and the compiler's
//! version. A file that is cut short or foreign is found by its own digest in front, and made again.

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};

use cudarc::nvrtc::{result, sys};

use super::error::CudaError;
use super::library;

/// Where compiled kernels may be kept between runs.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: Option<PathBuf>,
}

impl Cache {
    /// Keeps nothing.
    pub fn none() -> Cache {
        Cache { directory: None }
    }

    /// Under `directory`, made when first written to.
    pub fn at(directory: impl Into<PathBuf>) -> Cache {
        Cache { directory: Some(directory.into()) }
    }

    /// Under the user's cache directory (`XDG_CACHE_HOME`, else `~/.cache`), if there is one.
    pub fn of_user() -> Cache {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        Cache { directory: base.map(|b| b.join("pipe").join("kernels")) }
    }

    fn path(&self, key: &blake3::Hash) -> Option<PathBuf> {
        self.directory.as_ref().map(|d| d.join(format!("{}.cubin", key.to_hex())))
    }

    fn read(&self, key: &blake3::Hash) -> Option<Vec<u8>> {
        let bytes = std::fs::read(self.path(key)?).ok()?;
        let (digest, code) = bytes.split_at_checked(blake3::OUT_LEN)?;
        (blake3::hash(code).as_bytes() == digest).then(|| code.to_vec())
    }

    /// Keeping is a courtesy: a full or read-only disk only costs the next start a compilation.
    fn write(&self, key: &blake3::Hash, code: &[u8]) {
        let Some(path) = self.path(key) else { return };
        let Some(directory) = path.parent() else { return };
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let bytes = [blake3::hash(code).as_bytes().as_slice(), code].concat();
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&temporary, bytes))
            .and_then(|()| std::fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
    }
}

/// One kernel file with the options that make it fit a model.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name, for messages.
    pub file: &'static str,
    /// The whole text.
    pub text: String,
    /// `-DNAME=value`, one each.
    pub options: Vec<String>,
}

/// Machine code of `source` for `architecture` (`sm_80`, `sm_90`, `sm_90a`).
///
/// # Errors
/// When NVRTC is not found or does not accept the text.
pub fn cubin(source: &Source, architecture: &str, cache: &Cache) -> Result<Vec<u8>, CudaError> {
    library::require_nvrtc()?;
    let mut options = vec![
        format!("--gpu-architecture={architecture}"),
        "--std=c++17".to_owned(),
        // Generic lambdas are the card's code without a word at each.
        "--device-as-default-execution-space".to_owned(),
    ];
    options.extend(source.options.iter().cloned());
    let mut hasher = blake3::Hasher::new_derive_key("pipe 2026 kernel code");
    hasher.update(format!("{:?}", version()?).as_bytes());
    for part in options.iter().chain([&source.text]) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let key = hasher.finalize();
    if let Some(code) = cache.read(&key) {
        return Ok(code);
    }
    let code = compile(source, architecture, &options)?;
    cache.write(&key, &code);
    Ok(code)
}

/// The compiler's version, major and minor.
///
/// # Errors
/// When NVRTC does not answer.
pub fn version() -> Result<(i32, i32), CudaError> {
    library::require_nvrtc()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is open and both pointers are to live integers.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) }
        .result()
        .map_err(|e| CudaError::refused("asking NVRTC for its version", e))?;
    Ok((major, minor))
}

fn compile(source: &Source, architecture: &str, options: &[String]) -> Result<Vec<u8>, CudaError> {
    let fault = |e| CudaError::refused(format!("compiling `{}`", source.file), e);
    let text = CString::new(source.text.as_str()).expect("kernel text holds no NUL");
    let name = CString::new(source.file).expect("a file name holds no NUL");
    let program = result::create_program(&text, Some(&name)).map_err(fault)?;
    // SAFETY: `program` was just made and is destroyed below, once, after its last use.
    let compiled = unsafe { result::compile_program(program, options) };
    let code = match compiled {
        Ok(()) => read_cubin(program).map_err(fault),
        Err(_) => Err(CudaError::Compile {
            file: source.file.to_owned(),
            architecture: architecture.to_owned(),
            log: read_log(program),
        }),
    };
    // SAFETY: nothing uses the program after this.
    unsafe { result::destroy_program(program) }.map_err(fault)?;
    code
}

fn read_cubin(program: sys::nvrtcProgram) -> Result<Vec<u8>, result::NvrtcError> {
    let mut bytes = 0;
    // SAFETY: the program is alive and compiled for a real architecture, so it has machine code; the buffer has
    // exactly the size that NVRTC named.
    unsafe {
        sys::nvrtcGetCUBINSize(program, &mut bytes).result()?;
        let mut code = vec![0u8; bytes];
        sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast::<c_char>()).result()?;
        Ok(code)
    }
}

fn read_log(program: sys::nvrtcProgram) -> String {
    // SAFETY: the program is alive; the log ends with a NUL.
    let log = unsafe { result::get_program_log(program) };
    log.map_or_else(
        |_| "no log".to_owned(),
        // SAFETY: NVRTC's log is NUL-terminated and `l` lives through the call.
        |l| unsafe { CStr::from_ptr(l.as_ptr()) }.to_string_lossy().trim().to_owned(),
    )
}
