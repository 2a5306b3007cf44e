//! Streams that run beside each other: work of one of them happens as late as it may, that of the others at once, so that a wait
//! that is missing shows.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::cuda::driver::{
    Address, Driver, Event, Function, Geometry, Module, Pinned, Result, Size, Stream, Tensor, TensorMap,
};

/// A driver whose streams are lines of work in front of `D`.
#[derive(Debug)]
pub struct Beside<D> {
    driver: D,
    /// The stream that is late, by the order in which they were asked for.
    late: usize,
    /// A wait that is not heard, counted from 0.
    deaf: Option<usize>,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<Line>,
    /// The stream of each mark, and how much work of it came before.
    marks: Vec<(usize, usize)>,
    streams: u64,
    waits: usize,
}

#[derive(Debug, Default)]
struct Line {
    queued: VecDeque<Work>,
    asked: usize,
    done: usize,
}

#[derive(Debug)]
enum Work {
    Copy { from: Address, to: Address, bytes: u64 },
    Fill { to: Address, value: u8, bytes: u64 },
    Send { from: Address, to: Pinned, bytes: u64 },
    Bring { from: Pinned, to: Address, bytes: u64 },
    Launch { function: Function, geometry: Geometry, params: Vec<u8> },
    Wait { line: usize, asked: usize },
}

impl<D: Driver> Beside<D> {
    /// The first stream (0) or the second (1) is late; the wait `deaf` is as if it were missing.
    pub fn new(driver: D, late: usize, deaf: Option<usize>) -> Self {
        Self { driver, late, deaf, lines: Mutex::default() }
    }

    /// Waits so far.
    pub fn waits(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).waits
    }

    fn with<T>(&self, job: impl FnOnce(&mut Lines) -> Result<T>) -> Result<T> {
        job(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, stream: Stream, work: Work) -> Result<()> {
        self.with(|lines| {
            let line = lines.line(stream.0 as usize);
            line.queued.push_back(work);
            line.asked += 1;
            let asked = line.asked;
            if stream.0 as usize == self.late { Ok(()) } else { self.run(lines, stream.0 as usize, asked) }
        })
    }

    /// Does the first `asked` pieces of a stream's work, and what they wait for.
    fn run(&self, lines: &mut Lines, line: usize, asked: usize) -> Result<()> {
        while lines.line(line).done < asked {
            let Some(work) = lines.line(line).queued.pop_front() else { return Ok(()) };
            lines.line(line).done += 1;
            self.now(lines, Stream(line as u64), work)?;
        }
        Ok(())
    }

    fn now(&self, lines: &mut Lines, stream: Stream, work: Work) -> Result<()> {
        match work {
            Work::Copy { from, to, bytes } => self.driver.copy(stream, from, to, bytes),
            Work::Fill { to, value, bytes } => self.driver.fill(stream, to, value, bytes),
            Work::Send { from, to, bytes } => self.driver.send(stream, from, to, bytes),
            Work::Bring { from, to, bytes } => self.driver.bring(stream, from, to, bytes),
            Work::Launch { function, geometry, params } => self.driver.launch(stream, function, geometry, &params),
            Work::Wait { line, asked } => self.run(lines, line, asked),
        }
    }

    fn all_of(&self, stream: Stream) -> Result<()> {
        self.with(|lines| self.run(lines, stream.0 as usize, usize::MAX))
    }

    /// What gives something back waits for everything.
    fn everything(&self) -> Result<()> {
        self.with(|lines| (0..lines.lines.len()).try_for_each(|line| self.run(lines, line, usize::MAX)))
    }
}

impl Lines {
    fn line(&mut self, index: usize) -> &mut Line {
        if self.lines.len() <= index {
            self.lines.resize_with(index + 1, Line::default);
        }
        &mut self.lines[index]
    }
}

impl<D: Driver> Driver for Beside<D> {
    fn describe(&self) -> Result<String> {
        self.driver.describe()
    }

    fn size(&self) -> Result<Size> {
        self.driver.size()
    }

    fn allocate(&self, bytes: u64) -> Result<Address> {
        self.driver.allocate(bytes)
    }

    fn free(&self, address: Address) -> Result<()> {
        self.everything()?;
        self.driver.free(address)
    }

    fn write(&self, stream: Stream, to: Address, bytes: &[u8]) -> Result<()> {
        self.all_of(stream)?;
        self.driver.write(stream, to, bytes)
    }

    fn read(&self, stream: Stream, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.all_of(stream)?;
        self.driver.read(stream, from, bytes)
    }

    fn copy(&self, stream: Stream, from: Address, to: Address, bytes: u64) -> Result<()> {
        self.push(stream, Work::Copy { from, to, bytes })
    }

    fn fill(&self, stream: Stream, to: Address, value: u8, bytes: u64) -> Result<()> {
        self.push(stream, Work::Fill { to, value, bytes })
    }

    fn pin(&self, bytes: u64) -> Result<Pinned> {
        self.driver.pin(bytes)
    }

    fn unpin(&self, pinned: Pinned) -> Result<()> {
        self.everything()?;
        self.driver.unpin(pinned)
    }

    fn send(&self, stream: Stream, from: Address, to: Pinned, bytes: u64) -> Result<()> {
        self.push(stream, Work::Send { from, to, bytes })
    }

    fn bring(&self, stream: Stream, from: Pinned, to: Address, bytes: u64) -> Result<()> {
        self.push(stream, Work::Bring { from, to, bytes })
    }

    fn load(&self, image: &[u8], what: &str) -> Result<Module> {
        self.driver.load(image, what)
    }

    fn unload(&self, module: Module) -> Result<()> {
        self.everything()?;
        self.driver.unload(module)
    }

    fn function(&self, module: Module, entry: &str, shared: u32) -> Result<Function> {
        self.driver.function(module, entry, shared)
    }

    fn launch(&self, stream: Stream, function: Function, geometry: Geometry, params: &[u8]) -> Result<()> {
        self.push(stream, Work::Launch { function, geometry, params: params.to_vec() })
    }

    fn tensor_map(&self, tensor: &Tensor) -> Result<TensorMap> {
        self.driver.tensor_map(tensor)
    }

    fn stream(&self) -> Result<Stream> {
        self.with(|lines| {
            lines.streams += 1;
            Ok(Stream(lines.streams - 1))
        })
    }

    fn end_stream(&self, stream: Stream) -> Result<()> {
        self.all_of(stream)
    }

    fn record(&self, stream: Stream) -> Result<Event> {
        self.with(|lines| {
            let line = stream.0 as usize;
            let asked = lines.line(line).asked;
            lines.marks.push((line, asked));
            Ok(Event(lines.marks.len() as u64 - 1))
        })
    }

    fn wait(&self, stream: Stream, event: Event) -> Result<()> {
        let (nth, (line, asked)) = self.with(|lines| {
            lines.waits += 1;
            Ok((lines.waits - 1, lines.marks[event.0 as usize]))
        })?;
        if self.deaf == Some(nth) { Ok(()) } else { self.push(stream, Work::Wait { line, asked }) }
    }

    fn forget(&self, _: Event) -> Result<()> {
        Ok(())
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        self.all_of(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::emulation::parts;

    /// What one stream filled is sent by another, and filled again when it is gone. Without one of the waits the host gets
    /// something else, as soon as the stream that it holds back is early and the other late.
    #[test]
    fn a_missing_wait_shows() {
        let sent = |late: usize, deaf: Option<usize>| -> Option<[u8; 4]> {
            let gpu = Beside::new(parts(1)?.0, late, deaf);
            let [kernels, copies] = [gpu.stream().unwrap(), gpu.stream().unwrap()];
            let (at, back, away) = (gpu.allocate(4).unwrap(), gpu.allocate(4).unwrap(), gpu.pin(4).unwrap());
            gpu.fill(kernels, at, 1, 4).unwrap();
            gpu.wait(copies, gpu.record(kernels).unwrap()).unwrap();
            gpu.send(copies, at, away, 4).unwrap();
            gpu.wait(kernels, gpu.record(copies).unwrap()).unwrap();
            gpu.fill(kernels, at, 2, 4).unwrap();
            gpu.synchronize(kernels).unwrap();
            gpu.synchronize(copies).unwrap();
            gpu.bring(copies, away, back, 4).unwrap();
            let mut bytes = [0; 4];
            gpu.read(copies, back, &mut bytes).unwrap();
            Some(bytes)
        };
        for late in [0, 1] {
            let Some(right) = sent(late, None) else { return };
            assert_eq!(right, [1; 4], "stream {late} is late");
        }
        assert_ne!(sent(0, Some(0)), Some([1; 4]), "sent before it was there");
        assert_ne!(sent(1, Some(1)), Some([1; 4]), "overwritten before it was sent");
    }
}
