//! The card and what is allocated on it, each released when dropped: [`Device`], [`Buffer`], [`Pinned`], [`Event`],
//! [`Module`], [`Graph`]; launching a [`Function`].

use std::ffi::{CString, c_void};
use std::rc::Rc;
use std::sync::Arc;

use cudarc::driver::{CudaContext, result, sys};

use super::error::CudaError;
use super::library;

/// An open card with the one stream that orders all work on it. Not shared between threads.
#[derive(Debug)]
pub struct Device {
    context: Arc<CudaContext>,
    stream: sys::CUstream,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
}

impl Device {
    /// Opens the first card that `CUDA_VISIBLE_DEVICES` shows.
    ///
    /// # Errors
    /// When there is no driver or no card.
    pub fn open() -> Result<Rc<Device>, CudaError> {
        library::require_driver()?;
        let fault = |e| CudaError::refused("opening the card", e);
        let context = CudaContext::new(0).map_err(fault)?;
        let capability = context.compute_capability().map_err(fault)?;
        let processors = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = u32::try_from(context.attribute(processors).map_err(fault)?).unwrap_or(1);
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(fault)?;
        Ok(Rc::new(Device { context, stream, multiprocessors, capability }))
    }

    /// What the card calls itself.
    ///
    /// # Errors
    /// When the driver does not answer.
    pub fn name(&self) -> Result<String, CudaError> {
        self.context.name().map_err(|e| CudaError::refused("asking the card for its name", e))
    }

    /// Free and total bytes.
    ///
    /// # Errors
    /// When the driver does not answer.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.bind()?;
        result::mem_get_info().map_err(|e| CudaError::refused("asking the card for its free memory", e))
    }

    /// The target to compile for: with its own instructions where there are kernels for them.
    pub fn architecture(&self) -> String {
        match self.capability {
            (9, 0) => "sm_90a".to_owned(),
            (major, minor) => format!("sm_{major}{minor}"),
        }
    }

    /// Bytes a second that the memory's clock and width allow.
    ///
    /// # Errors
    /// When the driver does not answer.
    pub fn memory_rate(&self) -> Result<f64, CudaError> {
        let ask = |attribute| {
            let fault = |e| CudaError::refused("asking the card for its memory's clock", e);
            self.context.attribute(attribute).map(f64::from).map_err(fault)
        };
        let clock_khz = ask(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?;
        let width_bits = ask(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?;
        Ok(2.0 * clock_khz * 1e3 * width_bits / 8.0)
    }

    /// Whether a kernel may start before the one before it has ended.
    pub fn overlaps_launches(&self) -> bool {
        self.capability.0 >= 9
    }

    pub(super) fn bind(&self) -> Result<(), CudaError> {
        self.context.bind_to_thread().map_err(|e| CudaError::refused("binding the card to the thread", e))
    }

    pub(super) fn stream(&self) -> sys::CUstream {
        self.stream
    }

    /// Waits until everything handed over is done.
    ///
    /// # Errors
    /// When something that ran failed.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: the stream lives as long as the device.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|e| CudaError::refused("waiting for the card", e))
    }

    /// Copies between two places on the card, in stream order.
    ///
    /// # Errors
    /// When the driver refuses it.
    pub fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), CudaError> {
        // SAFETY: callers pass ranges inside live buffers of this device.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(|e| CudaError::refused(format!("copying {bytes} bytes on the card"), e))
    }

    /// Records `work` instead of running it; it may launch kernels and products but not wait.
    ///
    /// # Errors
    /// When `work` fails or does what cannot be recorded.
    pub fn record(self: &Rc<Device>, work: impl FnOnce() -> Result<(), CudaError>) -> Result<Graph, CudaError> {
        let fault = |e| CudaError::refused("recording a graph", e);
        // SAFETY: the stream is alive and not recording: this is the only place that begins, and it always ends.
        unsafe {
            result::stream::begin_capture(self.stream, sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        }
        .map_err(fault)?;
        let worked = work();
        // SAFETY: recording began above.
        let graph = unsafe { result::stream::end_capture(self.stream) };
        worked?;
        let graph = graph.map_err(fault)?;
        // SAFETY: `graph` was just made; it is destroyed once, whatever instantiation says.
        let made = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) };
        // SAFETY: an executable graph does not need the one it was made from.
        unsafe { result::graph::destroy(graph) }.map_err(fault)?;
        let made = made.map_err(fault)?;
        // SAFETY: both are alive.
        unsafe { result::graph::upload(made, self.stream) }.map_err(fault)?;
        Ok(Graph { device: Rc::clone(self), graph: made })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: everything that uses the stream holds this device; errors at the end have no one to tell.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            let _ = result::stream::destroy(self.stream);
        }
    }
}

/// Bytes on the card, zero at first.
#[derive(Debug)]
pub struct Buffer {
    _device: Rc<Device>,
    pointer: u64,
    bytes: usize,
}

impl Buffer {
    /// Allocates; `purpose` is for the message when there is no room.
    ///
    /// # Errors
    /// When the card's memory does not suffice.
    pub fn zeroed(device: &Rc<Device>, bytes: usize, purpose: &str) -> Result<Buffer, CudaError> {
        let fault = |e| CudaError::refused(format!("allocating {} MiB for {purpose}", bytes.div_ceil(1 << 20)), e);
        device.bind()?;
        // SAFETY: the context is bound; the size is not zero.
        let pointer = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(fault)?;
        let buffer = Buffer { _device: Rc::clone(device), pointer, bytes };
        // SAFETY: the range is the buffer just made.
        unsafe { result::memset_d8_async(pointer, 0, bytes, device.stream) }.map_err(fault)?;
        Ok(buffer)
    }

    /// Allocates and fills from the host.
    ///
    /// # Errors
    /// When the card's memory does not suffice.
    pub fn from_host<T: Plain>(device: &Rc<Device>, data: &[T], purpose: &str) -> Result<Buffer, CudaError> {
        let buffer = Buffer::zeroed(device, size_of_val(data), purpose)?;
        buffer.write(0, data)?;
        Ok(buffer)
    }

    /// Sets every byte, in stream order.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn fill(&self, byte: u8) -> Result<(), CudaError> {
        // SAFETY: the range is this buffer.
        unsafe { result::memset_d8_async(self.pointer, byte, self.bytes, self._device.stream) }
            .map_err(|e| CudaError::refused("filling memory of the card", e))
    }

    /// Fills from `offset` bytes on, and waits for it.
    ///
    /// # Errors
    /// When the data reaches past the end or the copy fails.
    pub fn write<T: Plain>(&self, offset: usize, data: &[T]) -> Result<(), CudaError> {
        self.check(offset, size_of_val(data))?;
        self._device.synchronize()?;
        // SAFETY: the range was checked; the copy is done when the call returns.
        unsafe { result::memcpy_htod_sync(self.pointer + offset as u64, data) }
            .map_err(|e| CudaError::refused("copying to the card", e))
    }

    /// Reads `into.len()` values from `offset` bytes on, after everything handed over is done.
    ///
    /// # Errors
    /// When the range reaches past the end, or the card failed.
    pub fn read<T: Plain>(&self, offset: usize, into: &mut [T]) -> Result<(), CudaError> {
        self.check(offset, size_of_val(into))?;
        self._device.synchronize()?;
        // SAFETY: the range was checked; any bytes are a valid `T` because it is plain.
        unsafe { result::memcpy_dtoh_sync(into, self.pointer + offset as u64) }
            .map_err(|e| CudaError::refused("copying from the card", e))
    }

    fn check(&self, offset: usize, bytes: usize) -> Result<(), CudaError> {
        if offset + bytes <= self.bytes {
            return Ok(());
        }
        let what = format!("a copy of {bytes} bytes at {offset} reaches past a buffer of {}", self.bytes);
        Err(CudaError::Unsupported(what))
    }

    /// Where it lies on the card.
    pub fn pointer(&self) -> u64 {
        self.pointer
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the allocator and is freed once; freeing waits for what still uses it.
        let _ = unsafe { result::free_sync(self.pointer) };
    }
}

/// Types whose every bit pattern is a value, without padding: they may be copied to and from a card as bytes.
///
/// # Safety
/// The above must hold.
pub unsafe trait Plain: Copy {}
// SAFETY: integers and floats have no padding and no invalid bits.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// Words of host memory that the card reads and writes by itself. The card must not be writing what `words` shows:
/// an [`Event`] tells.
#[derive(Debug)]
pub struct Pinned {
    _device: Rc<Device>,
    start: *mut i32,
    words: usize,
}

impl Pinned {
    /// Allocates `words` words, all zero.
    ///
    /// # Errors
    /// When the host has no such memory.
    pub fn zeroed(device: &Rc<Device>, words: usize) -> Result<Pinned, CudaError> {
        device.bind()?;
        // SAFETY: the context is bound; flag 1 is "portable".
        let start = unsafe { result::malloc_host(words.max(1) * 4, 1) }
            .map_err(|e| CudaError::refused(format!("pinning {words} words of host memory"), e))?
            .cast::<i32>();
        // SAFETY: the allocation holds that many words.
        unsafe { start.write_bytes(0, words) };
        Ok(Pinned { _device: Rc::clone(device), start, words })
    }

    /// What stands there.
    pub fn words(&self) -> &[i32] {
        // SAFETY: the allocation lives as long as self and was initialised; callers wait for the card's writes.
        unsafe { std::slice::from_raw_parts(self.start, self.words) }
    }

    /// The same, to fill.
    pub fn words_mut(&mut self) -> &mut [i32] {
        // SAFETY: as above, and `&mut self` makes this the only view of the host.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.words) }
    }

    /// Where the card finds it: with unified addressing the same address.
    pub fn pointer(&self) -> u64 {
        self.start as u64
    }

    /// Has the card copy bytes from `from` to the front, in stream order.
    ///
    /// # Errors
    /// When they reach past the end, or the driver refuses.
    pub fn fetch(&mut self, device: &Device, from: u64, words: usize) -> Result<(), CudaError> {
        if words > self.words {
            return Err(CudaError::Unsupported(format!("{words} words do not fit {} pinned ones", self.words)));
        }
        // SAFETY: the range was checked and the memory is pinned, so it stays where it is until the copy is done.
        let into = unsafe { std::slice::from_raw_parts_mut(self.start, words) };
        // SAFETY: as above; `from` lies in a live buffer of the caller.
        unsafe { result::memcpy_dtoh_async(into, from, device.stream) }
            .map_err(|e| CudaError::refused("copying tokens from the card", e))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated by `malloc_host`, freed once, after the device's work is done.
        unsafe {
            let _ = result::stream::synchronize(self._device.stream);
            let _ = result::free_host(self.start.cast::<c_void>());
        }
    }
}

/// An instant in the stream.
#[derive(Debug)]
pub struct Event {
    device: Rc<Device>,
    event: sys::CUevent,
}

impl Event {
    /// One that has not happened.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Rc<Device>) -> Result<Event, CudaError> {
        device.bind()?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)
            .map_err(|e| CudaError::refused("making an event", e))?;
        Ok(Event { device: Rc::clone(device), event })
    }

    /// Marks the end of everything handed over so far.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn mark(&self) -> Result<(), CudaError> {
        // SAFETY: both are alive.
        unsafe { result::event::record(self.event, self.device.stream) }
            .map_err(|e| CudaError::refused("marking an instant", e))
    }

    /// Waits until the card has passed it.
    ///
    /// # Errors
    /// When work before it failed.
    pub fn wait(&self) -> Result<(), CudaError> {
        // SAFETY: the event is alive.
        unsafe { result::event::synchronize(self.event) }.map_err(|e| CudaError::refused("waiting for a step", e))
    }

    /// Nanoseconds from `earlier` to this, both passed.
    ///
    /// # Errors
    /// When one of them has not been passed.
    pub fn since_ns(&self, earlier: &Event) -> Result<u64, CudaError> {
        // SAFETY: both are alive.
        let ms = unsafe { result::event::elapsed(earlier.event, self.event) }
            .map_err(|e| CudaError::refused("reading the card's clock", e))?;
        Ok((f64::from(ms) * 1e6).round() as u64)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by `create`, destroyed once.
        let _ = unsafe { result::event::destroy(self.event) };
    }
}

/// Work that was recorded, to be run again with one call.
#[derive(Debug)]
pub struct Graph {
    device: Rc<Device>,
    graph: sys::CUgraphExec,
}

impl Graph {
    /// Hands it over.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn launch(&self) -> Result<(), CudaError> {
        // SAFETY: both are alive.
        unsafe { result::graph::launch(self.graph, self.device.stream) }
            .map_err(|e| CudaError::refused("launching a graph", e))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated once, destroyed once, after the stream is done with it.
        unsafe {
            let _ = result::stream::synchronize(self.device.stream);
            let _ = result::graph::exec_destroy(self.graph);
        }
    }
}

/// Loaded machine code.
#[derive(Debug)]
pub struct Module {
    device: Rc<Device>,
    module: sys::CUmodule,
}

impl Module {
    /// Loads a cubin.
    ///
    /// # Errors
    /// When it is for another card.
    pub fn load(device: &Rc<Device>, cubin: &[u8]) -> Result<Rc<Module>, CudaError> {
        device.bind()?;
        // SAFETY: the bytes are a whole cubin from NVRTC (the cache checks its digest).
        let module = unsafe { result::module::load_data(cubin.as_ptr().cast::<c_void>()) }
            .map_err(|e| CudaError::refused("loading kernels", e))?;
        Ok(Rc::new(Module { device: Rc::clone(device), module }))
    }

    /// A kernel by name, allowed `shared_bytes` of dynamic shared memory.
    ///
    /// # Errors
    /// When there is none, or the card has less shared memory.
    pub fn function(self: &Rc<Module>, name: &str, shared_bytes: u32) -> Result<Function, CudaError> {
        let fault = |e| CudaError::refused(format!("taking {shared_bytes} bytes of shared memory for `{name}`"), e);
        let symbol = CString::new(name).expect("a kernel's name holds no NUL");
        // SAFETY: the module is alive.
        let function = unsafe { result::module::get_function(self.module, symbol) }
            .map_err(|e| CudaError::refused(format!("finding kernel `{name}`"), e))?;
        if shared_bytes > 0 {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is alive as long as its module.
            unsafe { result::function::set_function_attribute(function, attribute, shared_bytes as i32) }
                .map_err(fault)?;
        }
        Ok(Function { module: Rc::clone(self), function, shared_bytes, name: name.to_owned() })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded once, unloaded once, after the stream is done with its kernels.
        unsafe {
            let _ = result::stream::synchronize(self.device.stream);
            let _ = result::module::unload(self.module);
        }
    }
}

/// A kernel.
#[derive(Debug)]
pub struct Function {
    module: Rc<Module>,
    function: sys::CUfunction,
    shared_bytes: u32,
    name: String,
}

/// When a kernel may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// When everything before it is done.
    After,
    /// As soon as there is room: it waits by itself where it first needs what came before.
    Early,
    /// When everything before it is done, and only with all blocks at once: they wait for each other.
    Together,
}

impl Function {
    /// Hands a launch over.
    ///
    /// # Errors
    /// When the driver refuses.
    ///
    /// # Safety
    /// `arguments` must have the kernel's parameters in number, order and type, and pointers among them must be to
    /// live buffers as large as the kernel takes them to be, until the stream has passed the launch.
    pub unsafe fn launch(
        &self,
        grid: (u32, u32),
        threads: u32,
        start: Start,
        arguments: &mut Arguments,
    ) -> Result<(), CudaError> {
        let device = &self.module.device;
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let early = start == Start::Early && device.overlaps_launches();
        if start == Start::Together {
            attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
            attribute.value = sys::CUlaunchAttributeValue { cooperative: 1 };
        }
        let config = sys::CUlaunchConfig {
            gridDimX: grid.0,
            gridDimY: grid.1,
            gridDimZ: 1,
            blockDimX: threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: self.shared_bytes,
            hStream: device.stream,
            attrs: &mut attribute,
            numAttrs: u32::from(early || start == Start::Together),
        };
        let mut parameters = arguments.pointers();
        // SAFETY: the configuration and the parameters live through the call, which copies them; the rest is the
        // caller's promise.
        unsafe { sys::cuLaunchKernelEx(&config, self.function, parameters.as_mut_ptr(), std::ptr::null_mut()) }
            .result()
            .map_err(|e| CudaError::refused(format!("launching `{}`", self.name), e))
    }
}

const ARGUMENTS_MAX: usize = 16;
const ARGUMENT_WORDS_MAX: usize = 40;

/// A kernel's parameters, kept in place without allocation.
#[derive(Debug)]
pub struct Arguments {
    words: [u64; ARGUMENT_WORDS_MAX],
    starts: [usize; ARGUMENTS_MAX],
    count: usize,
    used: usize,
}

/// Types that a kernel takes by value.
///
/// # Safety
/// The type must have the layout that the kernel's parameter has, and an alignment of at most 8.
pub unsafe trait Argument: Copy {}
// SAFETY: a pointer or a 64-bit number.
unsafe impl Argument for u64 {}
// SAFETY: `int`.
unsafe impl Argument for i32 {}
// SAFETY: `float`.
unsafe impl Argument for f32 {}

impl Arguments {
    /// None yet.
    pub fn new() -> Arguments {
        Arguments { words: [0; ARGUMENT_WORDS_MAX], starts: [0; ARGUMENTS_MAX], count: 0, used: 0 }
    }

    /// One more.
    pub fn with<T: Argument>(mut self, value: T) -> Arguments {
        let words = size_of::<T>().div_ceil(8);
        assert!(self.count < ARGUMENTS_MAX && self.used + words <= ARGUMENT_WORDS_MAX, "kernels take fewer arguments");
        // SAFETY: the words are inside the array by the assertion and aligned to 8, which suffices by the trait.
        unsafe { self.words.as_mut_ptr().add(self.used).cast::<T>().write(value) };
        self.starts[self.count] = self.used;
        self.count += 1;
        self.used += words;
        self
    }

    fn pointers(&mut self) -> [*mut c_void; ARGUMENTS_MAX] {
        let base = self.words.as_mut_ptr();
        // SAFETY: every start lies in the array.
        std::array::from_fn(|i| unsafe { base.add(self.starts[i]) }.cast::<c_void>())
    }
}

impl Default for Arguments {
    fn default() -> Arguments {
        Arguments::new()
    }
}
