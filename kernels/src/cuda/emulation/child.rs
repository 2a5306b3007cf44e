//! The child process as a driver.

use std::fs;
use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{HostCompiler, system};
use crate::cuda::driver::{
    Address, Driver, Error, Event, Function, Geometry, Module, Pinned, Result, Size, Stream, Tensor, TensorMap,
};

/// A child that runs kernels.
#[derive(Debug)]
pub struct Emulator {
    pipes: Mutex<Pipes>,
    child: Mutex<Child>,
    /// Modules and names behind the numbers of functions.
    functions: Mutex<Vec<(Module, String)>>,
    seed: AtomicU64,
}

#[derive(Debug)]
struct Pipes {
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Emulator {
    pub(crate) fn start(compiler: &HostCompiler, seed: u64) -> Result<Emulator> {
        let program = compiler.child()?;
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(system(format!("starting {}", program.display())))?;
        let pipes = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .map(|(to, from)| Pipes { to: BufWriter::new(to), from: BufReader::new(from) });
        let pipes = Mutex::new(pipes.expect("pipes that were asked for"));
        Ok(Emulator { pipes, child: Mutex::new(child), functions: Mutex::default(), seed: AtomicU64::new(seed) })
    }

    /// Sends a command and returns the answer, or what went wrong in words.
    fn ask(&self, command: u8, words: &[u64], parts: &[&[u8]]) -> std::result::Result<Vec<u8>, String> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        pipes.exchange(command, words, parts).unwrap_or_else(|error| Err(format!("the emulation ended: {error}")))
    }

    fn call(&self, call: &'static str, command: u8, words: &[u64], parts: &[&[u8]]) -> Result<Vec<u8>> {
        self.ask(command, words, parts).map_err(|reason| Error::Call { call, reason })
    }
}

impl Pipes {
    fn exchange(
        &mut self,
        command: u8,
        words: &[u64],
        parts: &[&[u8]],
    ) -> std::io::Result<std::result::Result<Vec<u8>, String>> {
        self.to.write_all(&[command])?;
        words.iter().try_for_each(|word| self.to.write_all(&word.to_le_bytes()))?;
        parts.iter().try_for_each(|part| self.to.write_all(part))?;
        self.to.flush()?;
        let (mut status, mut len) = ([0; 1], [0; 8]);
        self.from.read_exact(&mut status)?;
        self.from.read_exact(&mut len)?;
        let mut answer = vec![0; u64::from_le_bytes(len) as usize];
        self.from.read_exact(&mut answer)?;
        Ok(if status[0] == 0 { Ok(answer) } else { Err(String::from_utf8_lossy(&answer).into_owned()) })
    }
}

fn word(answer: &[u8]) -> u64 {
    answer.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Driver for Emulator {
    fn describe(&self) -> Result<String> {
        Ok("an emulated GPU".to_owned())
    }

    /// As many multiprocessors as let a small test split its keys.
    fn size(&self) -> Result<Size> {
        Ok(Size { multiprocessors: 4, block_memory: 227 << 10 })
    }

    fn allocate(&self, bytes: u64) -> Result<Address> {
        let answer = self.ask(b'A', &[bytes], &[]).map_err(|_| Error::OutOfMemory { requested: bytes })?;
        Ok(Address(word(&answer)))
    }

    fn free(&self, address: Address) -> Result<()> {
        self.call("free", b'F', &[address.0], &[]).map(drop)
    }

    fn write(&self, _stream: Stream, to: Address, bytes: &[u8]) -> Result<()> {
        self.call("write", b'W', &[to.0, bytes.len() as u64], &[bytes]).map(drop)
    }

    fn read(&self, _stream: Stream, from: Address, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(&self.call("read", b'R', &[from.0, bytes.len() as u64], &[])?);
        Ok(())
    }

    fn copy(&self, _stream: Stream, from: Address, to: Address, bytes: u64) -> Result<()> {
        self.call("copy", b'C', &[from.0, to.0, bytes], &[]).map(drop)
    }

    fn fill(&self, _stream: Stream, to: Address, value: u8, bytes: u64) -> Result<()> {
        self.call("fill", b'Z', &[to.0, bytes], &[&[value]]).map(drop)
    }

    // Pinned memory is a buffer of the child.

    fn pin(&self, bytes: u64) -> Result<Pinned> {
        self.allocate(bytes).map(|address| Pinned(address.0)).map_err(|_| Error::OutOfHostMemory { requested: bytes })
    }

    fn unpin(&self, pinned: Pinned) -> Result<()> {
        self.free(Address(pinned.0))
    }

    fn send(&self, stream: Stream, from: Address, to: Pinned, bytes: u64) -> Result<()> {
        self.copy(stream, from, Address(to.0), bytes)
    }

    fn bring(&self, stream: Stream, from: Pinned, to: Address, bytes: u64) -> Result<()> {
        self.copy(stream, Address(from.0), to, bytes)
    }

    fn load(&self, image: &[u8], what: &str) -> Result<Module> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let unique = format!("load-{}-{}.so", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = super::folder().join(unique);
        fs::write(&path, image).map_err(system(format!("writing {}", path.display())))?;
        let text = path.to_string_lossy().into_owned().into_bytes();
        let answer = self.ask(b'L', &[text.len() as u64], &[&text]);
        let _ = fs::remove_file(&path);
        answer.map(|answer| Module(word(&answer))).map_err(|reason| Error::Load { what: what.to_owned(), reason })
    }

    fn unload(&self, _module: Module) -> Result<()> {
        Ok(())
    }

    fn function(&self, module: Module, entry: &str, _shared: u32) -> Result<Function> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        functions.push((module, entry.to_owned()));
        Ok(Function(functions.len() as u64 - 1))
    }

    fn launch(&self, _stream: Stream, function: Function, geometry: Geometry, params: &[u8]) -> Result<()> {
        let (module, entry) = {
            let functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
            functions[function.0 as usize].clone()
        };
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let Geometry { grid, threads, shared } = geometry;
        let sizes: Vec<u8> = grid.into_iter().chain([threads, shared]).flat_map(u32::to_le_bytes).collect();
        let tail = [seed.to_le_bytes(), (params.len() as u64).to_le_bytes()].concat();
        let words = [module.0, entry.len() as u64];
        self.ask(b'X', &words, &[entry.as_bytes(), &sizes, &tail, params])
            .map(drop)
            .map_err(|reason| Error::Launch { kernel: entry, reason })
    }

    /// As `runtime.cpp` reads it.
    fn tensor_map(&self, tensor: &Tensor) -> Result<TensorMap> {
        let Tensor { at, rows, heads, columns, box_rows } = *tensor;
        let mut map = [0; 16];
        map[..7].copy_from_slice(&[at.0, columns, heads, rows, 2 * columns, 2 * columns * heads, u64::from(box_rows)]);
        Ok(map)
    }

    fn stream(&self) -> Result<Stream> {
        Ok(Stream(0))
    }

    fn end_stream(&self, _stream: Stream) -> Result<()> {
        Ok(())
    }

    fn record(&self, _stream: Stream) -> Result<Event> {
        Ok(Event(0))
    }

    fn wait(&self, _stream: Stream, _event: Event) -> Result<()> {
        Ok(())
    }

    fn forget(&self, _event: Event) -> Result<()> {
        Ok(())
    }

    fn synchronize(&self, _stream: Stream) -> Result<()> {
        Ok(())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself, after a fault.
        let _ = child.kill();
        let _ = child.wait();
    }
}
