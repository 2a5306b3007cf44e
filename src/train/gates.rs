//! A step of the stage `gates`, and the file that it leaves.

use std::fs;
use std::path::{Path, PathBuf};

use kernels::device::Device;
use recipe_core::{Plan, StagePlan, parse_gates};

use super::{Error, GateMetrics, Learned};
use crate::data::Batch;
use crate::engine::Engine;

/// Beside a trained model: a list of numbers for each layer, as `duo(gates = "gates.json")` reads them.
pub const GATES_FILE: &str = "gates.json";

/// The gradients of a step's passes and of what open gates cost, from gates inside [0, 1].
pub(super) fn learn<D: Device>(
    engine: &mut Engine<D>,
    stage: &StagePlan,
    reg: f64,
    batches: &[Batch],
    counted: usize,
) -> Result<Learned, Error> {
    engine.clamp_gates();
    let mut sum = 0.0;
    for pass in batches.chunks(stage.micro_batch().max(1)) {
        let distances = engine.learn_gates(&Batch::concat(pass), stage.learns, 1.0 / counted as f32)?;
        sum += distances.iter().map(|&distance| f64::from(distance)).sum::<f64>();
    }
    engine.price_gates(reg);
    Ok(Learned { sum, grad_norm: engine.gates_gradient_norm(), gates: metrics(engine) })
}

fn metrics<D: Device>(engine: &Engine<D>) -> Option<GateMetrics> {
    let gates = engine.gates()?;
    let found = engine.plan().gate_summary(&gates);
    Some(GateMetrics { mean: found.mean, open: found.open as f64 / found.heads.max(1) as f64 })
}

/// Writes `gates.json` into `dir`; gives its path.
///
/// # Errors
/// When the disk refuses.
pub fn save_gates(dir: &Path, gates: &[Vec<f64>]) -> Result<PathBuf, Error> {
    let path = dir.join(GATES_FILE);
    crate::hub::save_bytes(&path, gates_text(gates).as_bytes())?;
    Ok(path)
}

/// The text of `gates.json`, a line for each layer.
pub(crate) fn gates_text(gates: &[Vec<f64>]) -> String {
    let layer = |heads: &Vec<f64>| serde_json::to_string(heads).unwrap_or_default();
    let lines: Vec<String> = gates.iter().map(layer).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// The gates in `path`, which must be those of the plan's model.
///
/// # Errors
/// A file that cannot be read, or holds something else.
pub fn read_gates(path: &Path, plan: &Plan) -> Result<Vec<Vec<f64>>, Error> {
    let text = fs::read_to_string(path).map_err(Error::file(path))?;
    let wrong = |reason: String| Error::Gates { path: path.to_owned(), reason };
    let gates = parse_gates(&text).map_err(wrong)?;
    let (layers, heads) = (plan.model.layers, plan.model.kv_heads);
    if gates.len() != layers || gates.iter().any(|layer| layer.len() != heads) {
        return Err(wrong(format!(
            "the model has {layers} layers of {heads} key/value heads, a gate for each is needed"
        )));
    }
    match gates.iter().flatten().find(|gate| !(0.0..=1.0).contains(*gate)) {
        Some(gate) => Err(wrong(format!("gate {gate} is out of [0, 1]"))),
        None => Ok(gates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recipe_core::presets;

    fn plan() -> Plan {
        let model = presets::tiny();
        let context = recipe_core::Context { native: None, target: model.context };
        let recipe = recipe_core::Recipe {
            name: "Test".into(),
            model,
            context,
            rope: None,
            attention: None,
            positions: None,
            select: None,
            adapt: None,
            optimizer: None,
            data: vec![],
            train: vec![],
            eval: vec![],
            allow: vec![],
            device: None,
        };
        recipe.plan().unwrap()
    }

    #[test]
    fn gates_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let gates: Vec<Vec<f64>> =
            (0..6).map(|layer| (0..4).map(|head| f64::from(layer * 4 + head) / 24.0).collect()).collect();
        let path = save_gates(dir.path(), &gates).unwrap();
        assert_eq!(read_gates(&path, &plan()).unwrap(), gates);
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(GATES_FILE);
        let says = |text: &str| {
            fs::write(&path, text).unwrap();
            read_gates(&path, &plan()).unwrap_err().to_string()
        };
        assert!(says("[[1, 2]]").ends_with("the model has 6 layers of 4 key/value heads, a gate for each is needed"));
        assert!(says(&format!("{:?}", vec![vec![1.5; 4]; 6])).ends_with("gate 1.5 is out of [0, 1]"));
        assert!(says("[full]").starts_with(&path.display().to_string()));
        fs::remove_file(&path).unwrap();
        assert!(read_gates(&path, &plan()).unwrap_err().to_string().starts_with(&path.display().to_string()));
    }
}
