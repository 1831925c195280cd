//! Finding NVRTC and cublasLt by absolute path, wherever a toolkit or a Python package put them.
//!
//! They are opened once with global symbols; the bindings' later look-up by soname then gets the very same library,
//! so that neither `LD_LIBRARY_PATH` nor links are needed. A library stays open until the process ends.

use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::error::CudaError;

const RTLD_NOW: c_int = 2;
const RTLD_GLOBAL: c_int = 0x100;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
}

/// Directory of NVRTC alone, for compile checks on a machine without a toolkit.
pub const NVRTC_VARIABLE: &str = "PIPE_NVRTC";

/// Directories in which a toolkit's libraries may lie, the most explicit first; only those that exist.
pub fn directories() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    if let Some(path) = std::env::var_os(NVRTC_VARIABLE) {
        let path = PathBuf::from(path);
        found.extend(entries(&path.join("lib"), "python3").iter().flat_map(|p| wheels(&p.join("site-packages"))));
        found.push(path);
    }
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(path) = std::env::var_os(variable) {
            found.extend(["lib64", "lib"].iter().map(|sub| Path::new(&path).join(sub)));
        }
    }
    found.extend(["/usr/local/cuda/lib64", "/opt/cuda/lib64", "/usr/lib/x86_64-linux-gnu"].map(PathBuf::from));
    let mut pythons: Vec<PathBuf> = ["/usr/local/lib", "/usr/lib", "/opt/conda/lib"].map(PathBuf::from).into();
    pythons.extend(std::env::var_os("VIRTUAL_ENV").map(|v| Path::new(&v).join("lib")));
    for python in pythons.iter().flat_map(|base| entries(base, "python3")) {
        found.extend(["site-packages", "dist-packages"].iter().flat_map(|site| wheels(&python.join(site))));
    }
    found.retain(|p| p.is_dir());
    found
}

/// Library directories of NVIDIA's Python packages under one `site-packages`.
fn wheels(site: &Path) -> Vec<PathBuf> {
    entries(&site.join("nvidia"), "").into_iter().map(|p| p.join("lib")).collect()
}

fn entries(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(read) = std::fs::read_dir(directory) else { return Vec::new() };
    let matching = read.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(prefix));
    let mut paths: Vec<PathBuf> = matching.map(|e| e.path()).collect();
    paths.sort();
    paths
}

/// The newest `lib<name>.so.<version>` of the first directory that has one.
fn find(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    let stem = format!("lib{name}.so.");
    directories.iter().find_map(|directory| {
        let versions = entries(directory, &stem).into_iter().filter_map(|path| {
            let version: Option<Vec<u32>> =
                path.file_name()?.to_str()?[stem.len()..].split('.').map(|part| part.parse().ok()).collect();
            Some((version?, path))
        });
        versions.max().map(|(_, path)| path)
    })
}

/// Opens a library for good; whether it worked.
fn open(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path is a NUL-terminated string; the libraries' initialisers are NVIDIA's and safe to run.
    !unsafe { dlopen(path.as_ptr(), RTLD_NOW | RTLD_GLOBAL) }.is_null()
}

/// Paths of what was opened, in order; done once in a process.
pub fn opened() -> &'static [PathBuf] {
    static OPENED: OnceLock<Vec<PathBuf>> = OnceLock::new();
    OPENED.get_or_init(|| {
        let directories = directories();
        // NVRTC asks for its builtins by name: they must come first.
        let names = ["nvrtc-builtins", "nvrtc", "cublasLt"];
        let paths = names.iter().filter_map(|name| find(&directories, name));
        paths.filter(|path| open(path)).collect()
    })
}

/// Fails unless NVRTC can be called.
///
/// # Errors
/// When it is not found.
pub fn require_nvrtc() -> Result<(), CudaError> {
    opened();
    // SAFETY: only tries to open the library.
    require("libnvrtc", unsafe { cudarc::nvrtc::sys::is_culib_present() })
}

/// Fails unless cublasLt can be called.
///
/// # Errors
/// When it is not found.
pub fn require_cublas() -> Result<(), CudaError> {
    opened();
    // SAFETY: only tries to open the library.
    require("libcublasLt", unsafe { cudarc::cublaslt::sys::is_culib_present() })
}

/// Fails unless there is a driver.
///
/// # Errors
/// When it is not found.
pub fn require_driver() -> Result<(), CudaError> {
    // SAFETY: only tries to open the library.
    require("libcuda", unsafe { cudarc::driver::sys::is_culib_present() })
}

fn require(library: &'static str, present: bool) -> Result<(), CudaError> {
    if present { Ok(()) } else { Err(CudaError::Missing { library, searched: directories() }) }
}
