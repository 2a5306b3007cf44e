//! What a run writes down of every optimiser step: a line of `metrics.jsonl`, and an event for TensorBoard.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::tensorboard::EventFile;

/// What one optimiser step came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Optimiser step over all stages, from 1.
    pub step: usize,
    /// Stage, from 0.
    pub stage: usize,
    /// Mean nll per counted token, in nats; while gates learn, the distance of the last hidden states.
    pub loss: f64,
    /// 2-norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Tokens seen so far.
    pub tokens: u64,
    /// Tokens per second of this step.
    pub tokens_per_second: f64,
    /// The most bytes that were in buffers so far.
    pub peak_memory_bytes: u64,
    /// How open the gates were, while they learn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<GateMetrics>,
}

/// How open gates are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateMetrics {
    /// Their mean.
    pub mean: f64,
    /// Share of those above one half.
    pub open: f64,
}

/// The open log.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    events: EventFile,
}

impl MetricsLog {
    /// Opens the log of the run in `out` and cuts it back to `steps` steps: lines that a killed run wrote after its last
    /// checkpoint, or half a line, go away.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(out: &Path, steps: usize) -> Result<Self, Error> {
        let path = out.join("metrics.jsonl");
        let kept: String =
            Self::read(&path)?.into_iter().filter(|line| line.step <= steps).map(|line| to_line(&line)).collect();
        crate::hub::save_bytes(&path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::file(&path))?;
        let events = EventFile::create(&out.join("tensorboard"), steps + 1)?;
        Ok(Self { path, file, events })
    }

    /// Appends a step.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn push(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        self.file.write_all(to_line(metrics).as_bytes()).map_err(Error::file(&self.path))?;
        self.events.push(metrics)
    }

    /// All whole lines of a log; none when there is no log.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> Result<Vec<StepMetrics>, Error> {
        match fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
            Err(error) => Err(Error::file(path)(error)),
            Ok(file) => {
                let lines = BufReader::new(file).lines().map_while(Result::ok);
                Ok(lines.map_while(|line| serde_json::from_str(&line).ok()).collect())
            }
        }
    }
}

fn to_line(metrics: &StepMetrics) -> String {
    serde_json::to_string(metrics).unwrap_or_default() + "\n"
}
