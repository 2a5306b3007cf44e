//! TensorBoard event files: TFRecord frames around `Event` messages, which are few enough fields to be written by hand.
//!
//! Field numbers are those of tensorflow's `event.proto` and `summary.proto`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Error, StepMetrics};

/// The events of one session. A resumed run opens another file in the same folder, as TensorBoard expects.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Opens a new file in `dir`. Steps from `first` on that an earlier session left there are hidden by it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn create(dir: &Path, first: usize) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let (path, file) = fresh(dir)?;
        let mut events = Self { path, file };
        events.write(&event(0, &text(3, "brain.Event:2")))?;
        // SessionLog { status: START }.
        events.write(&event(first, &message(7, &varint(1, 1))))?;
        Ok(events)
    }

    /// Appends a step's scalars.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn push(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        let summary: Vec<u8> = scalars(metrics).into_iter().flat_map(|(tag, value)| scalar(tag, value)).collect();
        self.write(&event(metrics.step, &message(5, &summary)))
    }

    fn write(&mut self, event: &[u8]) -> Result<(), Error> {
        self.file.write_all(&frame(event)).map_err(Error::file(&self.path))
    }
}

/// A file that no other session has: named by the second, or by a later one when two begin within one.
fn fresh(dir: &Path) -> Result<(PathBuf, File), Error> {
    let mut second = now() as u64;
    loop {
        let path = dir.join(format!("events.out.tfevents.{second:010}.context-recipe"));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => second += 1,
            opened => return opened.map(|file| (path.clone(), file)).map_err(Error::file(&path)),
        }
    }
}

/// Tags as Hugging Face's trainer names them.
fn scalars(metrics: &StepMetrics) -> Vec<(&'static str, f64)> {
    let gates = metrics.gates.map(|gates| [("gates/mean", gates.mean), ("gates/open", gates.open)]);
    let always = [
        ("train/loss", metrics.loss),
        ("train/grad_norm", metrics.grad_norm),
        ("train/learning_rate", metrics.learning_rate),
        ("train/tokens", metrics.tokens as f64),
        ("train/tokens_per_second", metrics.tokens_per_second),
        ("memory/peak_bytes", metrics.peak_memory_bytes as f64),
    ];
    always.into_iter().chain(gates.into_iter().flatten()).collect()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// `Event { wall_time, step, … }`.
fn event(step: usize, what: &[u8]) -> Vec<u8> {
    [double(1, now()), varint(2, step as u64), what.to_vec()].concat()
}

/// `Summary { value { tag, simple_value } }`.
fn scalar(tag: &str, value: f64) -> Vec<u8> {
    let simple_value = [key(2, 5), (value as f32).to_le_bytes().to_vec()].concat();
    message(1, &[text(1, tag), simple_value].concat())
}

/// A protobuf field's key: its number and its wire type.
fn key(field: u64, wire: u64) -> Vec<u8> {
    base128(field << 3 | wire)
}

fn varint(field: u64, value: u64) -> Vec<u8> {
    [key(field, 0), base128(value)].concat()
}

fn double(field: u64, value: f64) -> Vec<u8> {
    [key(field, 1), value.to_le_bytes().to_vec()].concat()
}

fn text(field: u64, value: &str) -> Vec<u8> {
    message(field, value.as_bytes())
}

fn message(field: u64, body: &[u8]) -> Vec<u8> {
    [key(field, 2), base128(body.len() as u64), body.to_vec()].concat()
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn base128(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A TFRecord: length, its checksum, the body, its checksum.
fn frame(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), body, &masked(body)].concat()
}

/// TFRecord stores CRC-32C rotated by 15 and offset, so that a checksum of checksums stays sound.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::GateMetrics;

    fn metrics() -> Vec<StepMetrics> {
        let step = |step: usize| StepMetrics {
            step,
            stage: 0,
            loss: 3.0 - 0.1 * step as f64,
            grad_norm: 0.5,
            learning_rate: 2e-5,
            tokens: 4096 * step as u64,
            tokens_per_second: 1500.0,
            peak_memory_bytes: 1 << 33,
            gates: (step > 3).then_some(GateMetrics { mean: 0.75, open: 0.5 }),
        };
        (1..=5).map(step).collect()
    }

    /// Bodies of a file's frames; every checksum is looked at.
    fn bodies(path: &Path) -> Vec<Vec<u8>> {
        let bytes = fs::read(path).unwrap();
        let (mut rest, mut bodies) = (&bytes[..], vec![]);
        while !rest.is_empty() {
            let (length, after) = rest.split_at(8);
            assert_eq!(after[..4], masked(length));
            let end = 4 + u64::from_le_bytes(length.try_into().unwrap()) as usize;
            assert_eq!(after[end..end + 4], masked(&after[4..end]));
            bodies.push(after[4..end].to_vec());
            rest = &after[end + 4..];
        }
        bodies
    }

    #[test]
    fn every_step_is_an_event_with_all_scalars() {
        let dir = tempfile::tempdir().unwrap();
        let steps = metrics();
        let mut events = EventFile::create(dir.path(), 1).unwrap();
        steps.iter().for_each(|step| events.push(step).unwrap());
        let bodies = bodies(&events.path);
        assert_eq!(bodies.len(), steps.len() + 2);
        assert!(bodies[0].ends_with(b"brain.Event:2"));
        for (body, step) in bodies[2..].iter().zip(&steps) {
            for (tag, value) in scalars(step) {
                let at = body.windows(tag.len()).position(|part| part == tag.as_bytes()).unwrap() + tag.len();
                assert_eq!(body[at], 2 << 3 | 5, "{tag}");
                assert_eq!(body[at + 1..at + 5], (value as f32).to_le_bytes(), "{tag}");
            }
        }
    }

    #[test]
    fn a_session_never_writes_into_another_ones_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = [1, 4].map(|first| EventFile::create(dir.path(), first).unwrap());
        assert_ne!(files[0].path, files[1].path);
        assert!(files[0].path < files[1].path);
    }

    #[test]
    fn numbers_are_protobufs() {
        assert_eq!(base128(300), [0xac, 0x02]);
        assert_eq!(varint(2, 1), [0x10, 1]);
        // The check value of CRC-32C.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
