//! Progress of long work, on stderr: a bar on a terminal, a line every few seconds elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::number::{duration, fixed, percent, rate, scientific, significant};
use crate::train::StepMetrics;
use recipe_core::Plan;

/// Between two plain lines.
const PAUSE: Duration = Duration::from_secs(2);
/// Redraws per second.
const REDRAWS: u8 = 10;

/// One piece of long work. All methods take `&self`, so that a closure on any thread can report.
pub struct Progress {
    what: String,
    unit: String,
    started: Instant,
    count: Mutex<Count>,
    /// How many come at which effort, in their order; empty where all take the same.
    efforts: Vec<(u64, f64)>,
    sink: Sink,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Done before this process began.
    before: u64,
    done: u64,
    /// 0 where nobody knows.
    total: u64,
}

enum Sink {
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

struct Lines {
    out: Box<dyn Write + Send>,
    pause: Duration,
    last: Option<Instant>,
}

impl Progress {
    /// Work called `what` (`train`), counted in `unit` (`steps`) up to `total`, 0 where that is unknown.
    pub fn new(what: &str, unit: &str, total: u64) -> Self {
        let sink = if draws() { Sink::Bar(bar(what, total)) } else { Sink::lines(Box::new(stderr()), PAUSE) };
        Self::with_sink(what, unit, total, sink)
    }

    fn with_sink(what: &str, unit: &str, total: u64, sink: Sink) -> Self {
        let count = Mutex::new(Count { total, ..Count::default() });
        let (what, unit) = (what.to_owned(), unit.to_owned());
        Self { what, unit, started: Instant::now(), count, efforts: vec![], sink }
    }

    /// The steps of a plan. Long sequences take more work than short ones, and the time that is left follows from that.
    pub fn training(plan: &Plan) -> Self {
        let stages = plan.stages.iter().zip(plan.flops().stages);
        let efforts: Vec<(u64, f64)> = stages.map(|(stage, work)| (stage.steps as u64, work.step)).collect();
        let total = efforts.iter().map(|(steps, _)| steps).sum();
        Self { efforts, ..Self::new("train", "steps", total) }
    }

    /// Says that `done` was done before, by a run that this one goes on from; it counts for no speed.
    pub fn resume_at(&self, done: u64) {
        {
            let mut count = self.count();
            (count.before, count.done) = (done, done);
        }
        if let Sink::Bar(bar) = &self.sink {
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    /// One optimiser step is done.
    pub fn step(&self, metrics: &StepMetrics) {
        let StepMetrics { loss, learning_rate, tokens_per_second, .. } = *metrics;
        let gates = metrics.gates.map_or(String::new(), |gates| format!(", mean gate {}", fixed(gates.mean, 2)));
        let loss = if metrics.gates.is_some() { significant(loss, 3) } else { fixed(loss, 3) };
        let words = format!("loss {loss}{gates}, {}, lr {}", rate(tokens_per_second), scientific(learning_rate));
        self.show(|count| count.done = metrics.step as u64, &words);
    }

    /// `by` more are done.
    pub fn advance(&self, by: u64) {
        self.advance_with(by, "");
    }

    /// `by` more are done, and `words` say how it goes.
    pub fn advance_with(&self, by: u64, words: &str) {
        self.show(|count| count.done = count.done.saturating_add(by), words);
    }

    /// A line of its own, above the bar.
    pub fn note(&self, words: &str) {
        match &self.sink {
            Sink::Bar(bar) => bar.println(words),
            Sink::Lines(lines) => unlocked(lines).write(words),
        }
    }

    /// The work is done; `words` are its result.
    pub fn finish(&self, words: &str) {
        let (count, time) = (*self.count(), duration(self.started.elapsed().as_secs_f64()));
        let comma = if words.is_empty() { "" } else { ", " };
        let done = count.done.saturating_sub(count.before);
        let line = format!("{}: {done} {} in {time}{comma}{words}", self.what, self.unit);
        if let Sink::Bar(bar) = &self.sink {
            bar.finish_and_clear();
        }
        match &self.sink {
            // A cleared bar prints nothing above itself any more.
            Sink::Bar(_) => drop(writeln!(stderr(), "{line}")),
            Sink::Lines(lines) => unlocked(lines).write(&line),
        }
    }

    fn show(&self, change: impl FnOnce(&mut Count), words: &str) {
        let count = {
            let mut count = self.count();
            change(&mut count);
            *count
        };
        match &self.sink {
            Sink::Bar(bar) => {
                bar.set_position(count.done);
                bar.set_message(format!("{words}{}", self.left(count)));
            }
            Sink::Lines(lines) => {
                let mut lines = unlocked(lines);
                if lines.due() {
                    lines.write(&self.line(count, words));
                }
            }
        }
    }

    /// `train 120/1000 steps (12%), loss 2.345, …, 3 min left`.
    fn line(&self, count: Count, words: &str) -> String {
        let Count { done, total, .. } = count;
        let share = done as f64 / total as f64;
        let of = if total > 0 { format!("/{total}") } else { String::new() };
        let part = if total > 0 { format!(" ({})", percent(share)) } else { String::new() };
        let comma = if words.is_empty() { "" } else { ", " };
        format!("{} {done}{of} {}{part}{comma}{words}{}", self.what, self.unit, self.left(count))
    }

    /// `, 3 min left`; nothing while nobody knows.
    fn left(&self, Count { before, done, total }: Count) -> String {
        let here = self.effort(done) - self.effort(before);
        if total <= done || here <= 0.0 {
            return String::new();
        }
        let rest = self.effort(total) - self.effort(done);
        format!(", {} left", duration(self.started.elapsed().as_secs_f64() / here * rest))
    }

    /// What the first `done` take together.
    fn effort(&self, done: u64) -> f64 {
        let (mut rest, mut sum) = (done, 0.0);
        for (count, each) in &self.efforts {
            let these = rest.min(*count);
            sum += these as f64 * each;
            rest -= these;
        }
        sum + if self.efforts.is_empty() { rest as f64 } else { 0.0 }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        unlocked(&self.count)
    }
}

impl Sink {
    fn lines(out: Box<dyn Write + Send>, pause: Duration) -> Self {
        Self::Lines(Mutex::new(Lines { out, pause, last: None }))
    }
}

impl Lines {
    /// Whether the pause since the last line is over; if so, the next begins.
    fn due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now.duration_since(last) >= self.pause);
        if due {
            self.last = Some(now);
        }
        due
    }

    /// Work does not stop because nobody listens any more.
    fn write(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }
}

/// A panic elsewhere must not hide what is being counted.
fn unlocked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether stderr is a terminal that can move its cursor.
fn draws() -> bool {
    stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colours are unwanted (no-color.org: set, and not to nothing).
fn plain() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn bar(what: &str, total: u64) -> ProgressBar {
    let (length, template) = match total {
        0 => (None, "{prefix} {spinner} {human_pos}  {wide_msg}"),
        _ if plain() => (Some(total), "{prefix} {bar:24} {human_pos}/{human_len}  {wide_msg}"),
        _ => (Some(total), "{prefix} {bar:24.cyan/dim} {human_pos}/{human_len}  {wide_msg}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr_with_hz(REDRAWS));
    bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    bar.set_prefix(what.to_owned());
    // An error that ends the work leaves the bar where it stood.
    bar.with_finish(ProgressFinish::Abandon)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            unlocked(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Memory {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(unlocked(&self.0).clone()).unwrap().lines().map(ToOwned::to_owned).collect()
        }

        fn progress(&self, total: u64, pause: Duration) -> Progress {
            Progress::with_sink("train", "steps", total, Sink::lines(Box::new(self.clone()), pause))
        }
    }

    fn step(step: usize) -> StepMetrics {
        StepMetrics {
            step,
            stage: 0,
            loss: 2.3456,
            grad_norm: 1.0,
            learning_rate: 2e-5,
            tokens: 0,
            tokens_per_second: 12_345.0,
            peak_memory_bytes: 0,
            gates: None,
        }
    }

    #[test]
    fn steps_show_loss_speed_and_share() {
        let memory = Memory::default();
        let progress = memory.progress(1000, Duration::ZERO);
        progress.step(&step(120));
        let lines = memory.lines();
        assert!(lines[0].starts_with("train 120/1000 steps (12%), loss 2.346, 12.3 K tok/s, lr 2e-5, "), "{lines:?}");
        assert!(lines[0].ends_with(" left"), "{lines:?}");
    }

    #[test]
    fn steps_of_gates_show_how_open_they_are() {
        let memory = Memory::default();
        let gates = Some(crate::train::GateMetrics { mean: 0.5, open: 0.25 });
        memory.progress(10, Duration::ZERO).step(&StepMetrics { gates, loss: 0.001_234, ..step(1) });
        assert!(memory.lines()[0].starts_with("train 1/10 steps (10%), loss 0.00123, mean gate 0.50, "), "{memory:?}");
    }

    #[test]
    fn lines_keep_their_distance() {
        let memory = Memory::default();
        let progress = memory.progress(1000, Duration::MAX);
        (1..=1000).for_each(|number| progress.step(&step(number)));
        progress.note("a checkpoint");
        progress.finish("loss 2.3");
        let lines = memory.lines();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[1], "a checkpoint");
        assert!(lines[2].starts_with("train: 1000 steps in ") && lines[2].ends_with(", loss 2.3"), "{lines:?}");
    }

    #[test]
    fn a_resumed_run_counts_its_own_steps_for_speed() {
        let memory = Memory::default();
        let progress = memory.progress(10, Duration::ZERO);
        progress.resume_at(8);
        progress.advance(0);
        progress.advance(2);
        progress.finish("");
        let lines = memory.lines();
        assert_eq!(lines[0], "train 8/10 steps (80%)");
        assert_eq!(lines[1], "train 10/10 steps (100%)");
        assert!(lines[2].starts_with("train: 2 steps in "), "{lines:?}");
    }

    #[test]
    fn long_sequences_are_expected_to_take_their_time() {
        let progress =
            Progress { efforts: vec![(100, 1.0), (10, 20.0)], ..Memory::default().progress(110, Duration::ZERO) };
        assert_eq!([0, 50, 100, 105, 110].map(|done| progress.effort(done)), [0.0, 50.0, 100.0, 200.0, 300.0]);
    }

    #[test]
    fn an_unknown_total_is_left_out() {
        let memory = Memory::default();
        memory.progress(0, Duration::ZERO).advance_with(7, "corpus/a.txt");
        assert_eq!(memory.lines(), ["train 7 steps, corpus/a.txt"]);
    }
}
