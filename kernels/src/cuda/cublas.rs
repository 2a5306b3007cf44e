//! cuBLASLt, NVIDIA's matrix products as a library, loaded when it is first asked for.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use libloading::Library;

use super::driver::{Address, Error, Machine as _, Needed, Result, Stream};
use super::gpu::{Gpu, Nvidia};
use super::libraries;
use super::runtime::{Memory, Queue};
use super::source::Compiler;
use crate::linear::Write;
use crate::linear::cuda::{Number, Places, Plain, Product, Products};

const NAMES: (&str, &[&str]) = if cfg!(windows) {
    ("cublasLt64_", &["cublasLt64_13.dll", "cublasLt64_12.dll"])
} else {
    ("libcublasLt.so", &["libcublasLt.so.13", "libcublasLt.so.12"])
};

/// What products may use on the side: NVIDIA's own recommendation for compute capability 9.0.
const WORKSPACE: u64 = 32 << 20;

/// `cublasStatus_t`; 0 is success.
type Status = c_int;
/// Handles, descriptions, layouts and preferences, which only cuBLASLt looks into.
type Opaque = *mut c_void;

// Of cublasLt.h and library_types.h, the same in CUDA 12 and 13.
const COMPUTE_F32: c_int = 68;
const TYPE_F32: c_int = 0;
const TYPE_BF16: c_int = 14;
const DESC_TRANSA: c_int = 3;
const DESC_TRANSB: c_int = 4;
const OP_T: c_int = 1;
const PREF_WORKSPACE: c_int = 1;
const PREF_REDUCTION: c_int = 3;
const PREF_ALIGNMENT: [c_int; 4] = [5, 6, 7, 8];
/// Partial sums of a product may be added up in f32, and in nothing that is shorter.
const REDUCTION_F32: u32 = 2;
const NOT_SUPPORTED: Status = 15;

/// `cublasLtMatmulAlgo_t`.
type Algorithm = [u64; 8];

/// `cublasLtMatmulHeuristicResult_t`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Heuristic {
    algorithm: Algorithm,
    workspace: usize,
    state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

type Create = unsafe extern "C" fn(*mut Opaque) -> Status;
type Destroy = unsafe extern "C" fn(Opaque) -> Status;
type SetAttribute = unsafe extern "C" fn(Opaque, c_int, *const c_void, usize) -> Status;

/// The functions that are used, as `cublasLt.h` declares them.
struct Functions {
    version: unsafe extern "C" fn() -> usize,
    words: unsafe extern "C" fn(Status) -> *const c_char,
    create: Create,
    destroy: Destroy,
    desc_create: unsafe extern "C" fn(*mut Opaque, c_int, c_int) -> Status,
    desc_set: SetAttribute,
    desc_destroy: Destroy,
    layout_create: unsafe extern "C" fn(*mut Opaque, c_int, u64, u64, i64) -> Status,
    layout_destroy: Destroy,
    pref_create: Create,
    pref_set: SetAttribute,
    pref_destroy: Destroy,
    heuristic: unsafe extern "C" fn(
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        c_int,
        *mut Heuristic,
        *mut c_int,
    ) -> Status,
    matmul: unsafe extern "C" fn(
        Opaque,
        Opaque,
        *const c_void,
        *const c_void,
        Opaque,
        *const c_void,
        Opaque,
        *const c_void,
        *const c_void,
        Opaque,
        *mut c_void,
        Opaque,
        *const Algorithm,
        *mut c_void,
        usize,
        Opaque,
    ) -> Status,
}

/// What an algorithm is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    sizes: [usize; 3],
    strides: [usize; 3],
    transposed: [bool; 2],
    number: Number,
    /// Largest powers of two, up to 256, that divide the addresses.
    alignments: [u32; 3],
}

impl Key {
    fn new(product: &Product<'_>, places: &Places) -> Key {
        let alignment = |address: Address| 1 << address.0.trailing_zeros().min(8);
        Key {
            sizes: [product.rows, product.columns, product.inner],
            strides: [product.a.stride, product.b.stride, product.c_stride],
            transposed: [product.a.transposed, product.b.transposed],
            number: product.number,
            alignments: [places.a, places.b, places.c].map(alignment),
        }
    }
}

/// Descriptions and an algorithm, kept as long as the library. cuBLASLt counts columns first: the second factor comes first, and
/// what is transposed here is not there.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    desc: Opaque,
    /// Of the second factor, of the first, of the result.
    layouts: [Opaque; 3],
    algorithm: Algorithm,
}

/// cuBLASLt with its handle, its workspace and an algorithm for each shape that was asked for, if it has one.
pub struct CublasLt {
    functions: Functions,
    handle: Opaque,
    chosen: Mutex<HashMap<Key, Option<Chosen>>>,
    workspace: Mutex<Option<Memory<Gpu>>>,
}

// SAFETY: a handle and what is made of it may be used from any thread (cuBLAS's documentation, "Thread Safety").
unsafe impl Send for CublasLt {}
// SAFETY: as above; descriptions are not changed once they are made.
unsafe impl Sync for CublasLt {}

impl std::fmt::Debug for CublasLt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CublasLt").field("version", &version(&self.functions)).finish_non_exhaustive()
    }
}

impl CublasLt {
    /// Loads the library for a GPU, whose context becomes current.
    pub fn load(gpu: &Gpu) -> Result<CublasLt> {
        gpu.enter()?;
        Self::load_from(&libraries::candidates(NAMES), Nvidia.version()?)
    }

    /// Loads the first of some files that is a cuBLASLt for a driver that knows CUDA `driver`: of the same major version, or an
    /// earlier one.
    pub(crate) fn load_from(candidates: &[PathBuf], driver: i32) -> Result<CublasLt> {
        let functions = libraries::first(candidates, Needed::CublasLt, driver, |path| {
            let functions = Self::open(path).map_err(|error| libraries::reason(path, &error))?;
            let (major, minor, _) = version(&functions);
            Ok((functions, (major, minor)))
        })?;
        Self::with(functions)
    }

    fn open(path: &Path) -> std::result::Result<Functions, libloading::Error> {
        // SAFETY: the library's initialisers and finalisers have no precondition.
        let library = unsafe { Library::new(path) }?;
        // SAFETY: the symbols have the types of cublasLt.h; the library stays.
        let functions = unsafe { bind(&library) }?;
        // It has a CUDA runtime of its own, which is not made to be unloaded.
        std::mem::forget(library);
        Ok(functions)
    }

    fn with(functions: Functions) -> Result<CublasLt> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a place for a handle.
        let status = unsafe { (functions.create)(&raw mut handle) };
        good(&functions, "cublasLtCreate", status)?;
        Ok(CublasLt { functions, handle, chosen: Mutex::default(), workspace: Mutex::default() })
    }

    fn good(&self, call: &'static str, status: Status) -> Result<()> {
        good(&self.functions, call, status)
    }

    /// The descriptions and the algorithm of a product, made unless they are there; none where the library has no algorithm.
    fn chosen(&self, key: Key) -> Result<Option<Chosen>> {
        let mut all = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chosen) = all.get(&key) {
            return Ok(*chosen);
        }
        let mut made = Chosen { desc: std::ptr::null_mut(), layouts: [std::ptr::null_mut(); 3], algorithm: [0; 8] };
        match self.choose(&key, &mut made) {
            Ok(true) => {
                all.insert(key, Some(made));
                Ok(Some(made))
            }
            Ok(false) => {
                self.discard(&made);
                all.insert(key, None);
                Ok(None)
            }
            Err(error) => {
                self.discard(&made);
                Err(error)
            }
        }
    }

    /// Whether there is an algorithm.
    fn choose(&self, key: &Key, made: &mut Chosen) -> Result<bool> {
        let functions = &self.functions;
        // SAFETY: a place for a description.
        let status = unsafe { (functions.desc_create)(&raw mut made.desc, COMPUTE_F32, TYPE_F32) };
        self.good("cublasLtMatmulDescCreate", status)?;
        for (attribute, transposed) in [(DESC_TRANSA, key.transposed[1]), (DESC_TRANSB, key.transposed[0])] {
            if transposed {
                self.set("cublasLtMatmulDescSetAttribute", functions.desc_set, made.desc, attribute, &OP_T)?;
            }
        }
        let ([rows, columns, inner], number) =
            (key.sizes, if key.number == Number::F32 { TYPE_F32 } else { TYPE_BF16 });
        let turned = |[a, b]: [usize; 2], transposed: bool| if transposed { [b, a] } else { [a, b] };
        let shapes = [
            (TYPE_BF16, turned([columns, inner], key.transposed[1]), key.strides[1]),
            (TYPE_BF16, turned([inner, rows], key.transposed[0]), key.strides[0]),
            (number, [columns, rows], key.strides[2]),
        ];
        for (layout, (number, [a, b], stride)) in made.layouts.iter_mut().zip(shapes) {
            // SAFETY: a place for a layout.
            let status = unsafe { (functions.layout_create)(layout, number, a as u64, b as u64, stride as i64) };
            self.good("cublasLtMatrixLayoutCreate", status)?;
        }
        let found = self.heuristic(key, made)?;
        made.algorithm = found.unwrap_or_default();
        Ok(found.is_some())
    }

    /// The algorithm that cuBLASLt thinks fastest.
    fn heuristic(&self, key: &Key, made: &Chosen) -> Result<Option<Algorithm>> {
        let (functions, mut preference) = (&self.functions, std::ptr::null_mut());
        // SAFETY: a place for a preference.
        self.good("cublasLtMatmulPreferenceCreate", unsafe { (functions.pref_create)(&raw mut preference) })?;
        let call = "cublasLtMatmulPreferenceSetAttribute";
        let [a, b, c] = key.alignments;
        let mut set = self.set(call, functions.pref_set, preference, PREF_WORKSPACE, &WORKSPACE);
        set = set.and_then(|()| self.set(call, functions.pref_set, preference, PREF_REDUCTION, &REDUCTION_F32));
        for (attribute, alignment) in PREF_ALIGNMENT.into_iter().zip([b, a, c, c]) {
            set = set.and_then(|()| self.set(call, functions.pref_set, preference, attribute, &alignment));
        }
        let (mut found, mut count) = (Heuristic::default(), 0);
        let [first, second, result] = made.layouts;
        let status = set.map(|()| {
            // SAFETY: what was made above, room for one result, and a place for their number.
            unsafe {
                (functions.heuristic)(
                    self.handle,
                    made.desc,
                    first,
                    second,
                    result,
                    result,
                    preference,
                    1,
                    &raw mut found,
                    &raw mut count,
                )
            }
        });
        // SAFETY: of above, not used again.
        unsafe { (functions.pref_destroy)(preference) };
        let status = status?;
        if status == NOT_SUPPORTED || status == 0 && count == 0 {
            return Ok(None);
        }
        self.good("cublasLtMatmulAlgoGetHeuristic", status)?;
        self.good("cublasLtMatmulAlgoGetHeuristic", found.state)?;
        Ok(Some(found.algorithm))
    }

    fn set<T>(&self, call: &'static str, set: SetAttribute, of: Opaque, attribute: c_int, value: &T) -> Result<()> {
        // SAFETY: what was made for these attributes, and a value of the size that is said.
        self.good(call, unsafe { set(of, attribute, std::ptr::from_ref(value).cast(), size_of::<T>()) })
    }

    fn discard(&self, made: &Chosen) {
        // SAFETY: made by this library, not used again. What cannot be given back is lost to the process, nothing else.
        unsafe {
            if !made.desc.is_null() {
                (self.functions.desc_destroy)(made.desc);
            }
            for layout in made.layouts.into_iter().filter(|layout| !layout.is_null()) {
                (self.functions.layout_destroy)(layout);
            }
        }
    }

    fn matmul(
        &self,
        stream: Stream,
        chosen: &Chosen,
        Places { a, b, c }: Places,
        (scale, write): (f32, Write),
        workspace: Address,
    ) -> Result<()> {
        let at = |address: Address| address.0 as *mut c_void;
        let beta: f32 = if write == Write::Add { 1.0 } else { 0.0 };
        let [first, second, result] = chosen.layouts;
        // SAFETY: addresses of as many numbers as the layouts say (`Product::places`), and a workspace of the size that the
        // algorithm was chosen for; the factors are read when the call returns.
        let status = unsafe {
            (self.functions.matmul)(
                self.handle,
                chosen.desc,
                (&raw const scale).cast(),
                at(b),
                first,
                at(a),
                second,
                (&raw const beta).cast(),
                at(c),
                result,
                at(c),
                result,
                &raw const chosen.algorithm,
                at(workspace),
                WORKSPACE as usize,
                stream.0 as Opaque,
            )
        };
        self.good("cublasLtMatmul", status)
    }
}

impl<C: Compiler> Products<Gpu, C> for CublasLt {
    fn multiply(&self, queue: Queue<'_, Gpu, C>, product: &Product<'_>) -> Result<()> {
        if product.rows == 0 || product.columns == 0 {
            return Ok(());
        }
        if product.inner == 0 {
            return Plain.multiply(queue, product);
        }
        queue.runtime().driver().enter()?;
        let places = product.places();
        let Some(chosen) = self.chosen(Key::new(product, &places))? else { return Plain.multiply(queue, product) };
        let mut workspace = self.workspace.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = match workspace.take() {
            Some(memory) => memory,
            None => queue.runtime().memory(WORKSPACE)?,
        };
        let workspace = workspace.insert(memory).address();
        self.matmul(queue.stream(), &chosen, places, (product.scale, product.write), workspace)
    }

    fn describe(&self) -> String {
        let (major, minor, patch) = version(&self.functions);
        format!("cuBLASLt {major}.{minor}.{patch}")
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        let chosen = std::mem::take(&mut *self.chosen.lock().unwrap_or_else(PoisonError::into_inner));
        chosen.values().flatten().for_each(|chosen| self.discard(chosen));
        // SAFETY: of `with`, not used again.
        unsafe { (self.functions.destroy)(self.handle) };
    }
}

/// Major, minor and patch version.
fn version(functions: &Functions) -> (i32, i32, i32) {
    // SAFETY: no precondition.
    let number = unsafe { (functions.version)() } as i32;
    (number / 10_000, number / 100 % 100, number % 100)
}

fn good(functions: &Functions, call: &'static str, status: Status) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the function returns a static string for any status.
    let words = unsafe { CStr::from_ptr((functions.words)(status)) }.to_string_lossy().into_owned();
    Err(Error::Call { call, reason: words })
}

/// # Safety
/// The library is cuBLASLt.
unsafe fn bind(library: &Library) -> std::result::Result<Functions, libloading::Error> {
    // SAFETY: of the types that cublasLt.h gives these symbols.
    unsafe {
        Ok(Functions {
            version: *library.get(b"cublasLtGetVersion\0")?,
            words: *library.get(b"cublasLtGetStatusString\0")?,
            create: *library.get(b"cublasLtCreate\0")?,
            destroy: *library.get(b"cublasLtDestroy\0")?,
            desc_create: *library.get(b"cublasLtMatmulDescCreate\0")?,
            desc_set: *library.get(b"cublasLtMatmulDescSetAttribute\0")?,
            desc_destroy: *library.get(b"cublasLtMatmulDescDestroy\0")?,
            layout_create: *library.get(b"cublasLtMatrixLayoutCreate\0")?,
            layout_destroy: *library.get(b"cublasLtMatrixLayoutDestroy\0")?,
            pref_create: *library.get(b"cublasLtMatmulPreferenceCreate\0")?,
            pref_set: *library.get(b"cublasLtMatmulPreferenceSetAttribute\0")?,
            pref_destroy: *library.get(b"cublasLtMatmulPreferenceDestroy\0")?,
            heuristic: *library.get(b"cublasLtMatmulAlgoGetHeuristic\0")?,
            matmul: *library.get(b"cublasLtMatmul\0")?,
        })
    }
}
