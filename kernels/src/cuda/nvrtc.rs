//! NVRTC, NVIDIA's compiler as a library: kernels' text to cubin. Loaded when it is first asked for, from wherever a
//! toolkit or a Python environment keeps it; it needs no GPU and no driver.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};

use libloading::Library;

use super::driver::{Error, Needed, Result};
use super::libraries;
use super::source::{Compiler, Source};

/// As toolkits and Python's packages call it, and as the system's loader may.
const NAMES: (&str, &[&str]) = if cfg!(windows) {
    ("nvrtc64_", &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"])
} else {
    ("libnvrtc.so", &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"])
};

/// Which instructions a cubin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Compute capability 8.0: A100; runs on everything since.
    Sm80,
    /// Compute capability 8.6: RTX 30, A40.
    Sm86,
    /// Compute capability 8.9: RTX 40, L40.
    Sm89,
    /// Compute capability 9.0 with what only Hopper has: H100, H200.
    Sm90a,
    /// Compute capability 10: B100, B200, B300.
    Sm100,
    /// Compute capability 12: RTX 50.
    Sm120,
}

impl Architecture {
    /// The best for a GPU of this compute capability; cubins run on later minor versions of their major one.
    pub fn of(capability: (i32, i32)) -> Result<Architecture> {
        match capability {
            (8, 0..=5) => Ok(Self::Sm80),
            (8, 6..=8) => Ok(Self::Sm86),
            (8, _) => Ok(Self::Sm89),
            (9, _) => Ok(Self::Sm90a),
            (10, _) => Ok(Self::Sm100),
            (12, _) => Ok(Self::Sm120),
            found => Err(Error::OldDevice { found }),
        }
    }

    /// The first NVRTC that knows all instructions that are used there.
    fn since(self) -> (i32, i32) {
        match self {
            Self::Sm80 | Self::Sm86 | Self::Sm89 => (12, 0),
            // Sums of four numbers in global memory ("red", .v4.f32): PTX ISA 8.1.
            Self::Sm90a => (12, 1),
            Self::Sm100 | Self::Sm120 => (12, 8),
        }
    }

    /// As the compiler spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sm80 => "sm_80",
            Self::Sm86 => "sm_86",
            Self::Sm89 => "sm_89",
            Self::Sm90a => "sm_90a",
            Self::Sm100 => "sm_100",
            Self::Sm120 => "sm_120",
        }
    }
}

/// `nvrtcProgram`, which only NVRTC looks into.
type Program = *mut std::ffi::c_void;
type Code = c_int;

/// The functions that are used, as `nvrtc.h` declares them.
struct Functions {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Code,
    error: unsafe extern "C" fn(Code) -> *const c_char,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Code,
    destroy: unsafe extern "C" fn(*mut Program) -> Code,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Code,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> Code,
    log: unsafe extern "C" fn(Program, *mut c_char) -> Code,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> Code,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> Code,
}

/// NVRTC for one architecture.
pub struct Nvrtc {
    functions: Functions,
    version: (i32, i32),
    architecture: Architecture,
}

impl std::fmt::Debug for Nvrtc {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Nvrtc").field("version", &self.version).field("architecture", &self.architecture).finish()
    }
}

/// NVRTC's functions. It asks the loader by name for the library of built-in functions beside it when it compiles: opened here, the
/// loader knows it wherever it lies. Both stay.
fn open(path: &Path) -> std::result::Result<Functions, libloading::Error> {
    let beside = path.parent().map(|dir| libraries::versions(dir, "libnvrtc-builtins.so")).unwrap_or_default();
    // SAFETY: the initialisers and finalisers of these libraries have no precondition.
    let open = |path: &Path| unsafe { Library::new(path) };
    beside.iter().filter_map(|path| open(path).ok()).for_each(std::mem::forget);
    let library = open(path)?;
    // SAFETY: the symbols have the types of nvrtc.h, unchanged since CUDA 11.1; the library stays.
    let functions = unsafe { bind(&library) }?;
    std::mem::forget(library);
    Ok(functions)
}

/// A cubin and what the compiler said about it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The image.
    pub cubin: Vec<u8>,
    /// Warnings, and `ptxas -v`'s account of each kernel.
    pub log: String,
}

impl Nvrtc {
    /// Loads the library.
    pub fn load(architecture: Architecture) -> Result<Nvrtc> {
        Self::load_for(architecture, i32::MAX)
    }

    /// Loads a version whose images a driver takes that knows CUDA `driver`: of the same major version, or an earlier one.
    pub fn load_for(architecture: Architecture, driver: i32) -> Result<Nvrtc> {
        Self::load_from(&libraries::candidates(NAMES), architecture, driver)
    }

    /// Loads the first of some files that is such an NVRTC.
    pub(crate) fn load_from(candidates: &[PathBuf], architecture: Architecture, driver: i32) -> Result<Nvrtc> {
        libraries::first(candidates, Needed::Nvrtc, driver, |path| {
            let functions = open(path).map_err(|error| libraries::reason(path, &error))?;
            let nvrtc = Self::with(functions, architecture).map_err(|error| format!("{}: {error}", path.display()))?;
            let ((major, minor), (since, least)) = (nvrtc.version, architecture.since());
            if nvrtc.version < architecture.since() {
                let (path, name) = (path.display(), architecture.name());
                return Err(format!("{path}: NVRTC {major}.{minor}, and {name} takes {since}.{least} or later"));
            }
            Ok((nvrtc, (major, minor)))
        })
    }

    fn with(functions: Functions, architecture: Architecture) -> Result<Nvrtc> {
        let mut version = (0, 0);
        // SAFETY: two places for two numbers.
        let code = unsafe { (functions.version)(&raw mut version.0, &raw mut version.1) };
        let nvrtc = Nvrtc { functions, version, architecture };
        nvrtc.good("nvrtcVersion", code)?;
        Ok(nvrtc)
    }

    /// Major and minor version.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// Compiles a text and keeps what the compiler said.
    pub fn compile_verbose(&self, source: &Source) -> Result<Compiled> {
        let text = CString::new(source.text()).map_err(|error| refused(source, error.to_string()))?;
        let name = CString::new(source.file).map_err(|error| refused(source, error.to_string()))?;
        let program = Running::new(self, &text, &name)?;
        let options = self.options();
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: a live program, and as many strings as the count says.
        let code = unsafe { (self.functions.compile)(program.handle, options.len() as c_int, options.as_ptr()) };
        let log = program.text(self.functions.log_size, self.functions.log)?;
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
        if code != 0 {
            return Err(refused(source, format!("{}\n{log}", self.words(code))));
        }
        Ok(Compiled { cubin: program.text(self.functions.cubin_size, self.functions.cubin)?, log })
    }

    fn options(&self) -> Vec<CString> {
        let architecture = format!("--gpu-architecture={}", self.architecture.name());
        let options = [architecture.as_str(), "--std=c++17", "--ptxas-options=-v"];
        options.into_iter().filter_map(|option| CString::new(option).ok()).collect()
    }

    fn words(&self, code: Code) -> String {
        // SAFETY: the function returns a static string for any code.
        unsafe { CStr::from_ptr((self.functions.error)(code)) }.to_string_lossy().into_owned()
    }

    fn good(&self, call: &'static str, code: Code) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(Error::Call { call, reason: self.words(code) }) }
    }
}

impl Compiler for Nvrtc {
    fn identity(&self) -> String {
        let (major, minor) = self.version;
        format!("NVRTC {major}.{minor} {:?}", self.options())
    }

    fn compile(&self, source: &Source) -> Result<Vec<u8>> {
        self.compile_verbose(source).map(|compiled| compiled.cubin)
    }
}

/// A program that is destroyed when dropped.
struct Running<'a> {
    nvrtc: &'a Nvrtc,
    handle: Program,
}

impl<'a> Running<'a> {
    fn new(nvrtc: &'a Nvrtc, text: &CStr, name: &CStr) -> Result<Running<'a>> {
        let mut handle = std::ptr::null_mut();
        let none = std::ptr::null();
        // SAFETY: strings that outlive the call, and no headers.
        let code = unsafe { (nvrtc.functions.create)(&raw mut handle, text.as_ptr(), name.as_ptr(), 0, none, none) };
        nvrtc.good("nvrtcCreateProgram", code)?;
        Ok(Running { nvrtc, handle })
    }

    /// Bytes that NVRTC gives in two calls: how many, and which.
    fn text(
        &self,
        size: unsafe extern "C" fn(Program, *mut usize) -> Code,
        get: unsafe extern "C" fn(Program, *mut c_char) -> Code,
    ) -> Result<Vec<u8>> {
        let mut len = 0;
        // SAFETY: a live program and a place for a number.
        self.nvrtc.good("the size of NVRTC's output", unsafe { size(self.handle, &raw mut len) })?;
        let mut bytes = vec![0u8; len];
        // SAFETY: a live program and as many bytes as it asked for.
        self.nvrtc.good("NVRTC's output", unsafe { get(self.handle, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // SAFETY: a live program, not used again.
        unsafe { (self.nvrtc.functions.destroy)(&raw mut self.handle) };
    }
}

/// The major version in an [`Nvrtc`]'s identity.
pub(super) fn major_of(identity: &str) -> Option<i32> {
    identity.strip_prefix("NVRTC ")?.split('.').next()?.parse().ok()
}

fn refused(source: &Source, log: String) -> Error {
    Error::Compile { what: format!("{} with {:?}", source.file, source.constants), log }
}

/// # Safety
/// The library is NVRTC.
unsafe fn bind(library: &Library) -> std::result::Result<Functions, libloading::Error> {
    // SAFETY: of the types that nvrtc.h gives these symbols.
    unsafe {
        Ok(Functions {
            version: *library.get(b"nvrtcVersion\0")?,
            error: *library.get(b"nvrtcGetErrorString\0")?,
            create: *library.get(b"nvrtcCreateProgram\0")?,
            destroy: *library.get(b"nvrtcDestroyProgram\0")?,
            compile: *library.get(b"nvrtcCompileProgram\0")?,
            log_size: *library.get(b"nvrtcGetProgramLogSize\0")?,
            log: *library.get(b"nvrtcGetProgramLog\0")?,
            cubin_size: *library.get(b"nvrtcGetCUBINSize\0")?,
            cubin: *library.get(b"nvrtcGetCUBIN\0")?,
        })
    }
}
