//! Rules about the words of `attention:` that cut a text into blocks, groups or chunks.

use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::gates::MOST_HEADS;
use crate::pattern::Pattern;
use crate::readable::readable_tokens as tokens;
use crate::recipe::{Attention, Gates, Positions, Sparse, Strided};
use crate::terms::Form;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "zero_stride", level: Level::Law, find: zero_stride },
    Rule { name: "zero_local", level: Level::Law, find: zero_local },
    Rule { name: "stride_hides_nothing", level: Level::Advice, find: stride_hides_nothing },
    Rule { name: "group_range", level: Level::Law, find: group_range },
    Rule { name: "group_odd", level: Level::Law, find: group_odd },
    Rule { name: "group_does_not_divide", level: Level::Guard, find: group_does_not_divide },
    Rule { name: "groups_without_training", level: Level::Guard, find: groups_without_training },
    Rule { name: "gates_shape", level: Level::Law, find: gates_shape },
    Rule { name: "gate_range", level: Level::Law, find: gate_range },
    Rule { name: "sparsity_range", level: Level::Law, find: sparsity_range },
    Rule { name: "streaming_range", level: Level::Law, find: streaming_range },
    Rule { name: "needed_heads_stream", level: Level::Advice, find: needed_heads_stream },
    Rule { name: "chunk_range", level: Level::Law, find: chunk_range },
    Rule { name: "chunk_beyond_native", level: Level::Guard, find: chunk_beyond_native },
    Rule { name: "self_extend_range", level: Level::Law, find: self_extend_range },
    Rule { name: "self_extend_below_target", level: Level::Guard, find: self_extend_below_target },
    Rule { name: "two_position_schemes", level: Level::Law, find: two_position_schemes },
];

fn field(key: &str) -> Field {
    Field::new("attention").key(key)
}

fn one(key: &str, message: impl Into<String>, help: impl Into<String>) -> Vec<Finding> {
    vec![Finding::new(field(key), message.into(), help)]
}

fn strided(case: &Case) -> Option<Strided> {
    match *case.recipe.attention.as_ref()? {
        Attention::Sparse(Sparse::Strided(strided)) | Attention::Hybrid { sparse: Sparse::Strided(strided), .. } => {
            Some(strided)
        }
        _ => None,
    }
}

/// The pattern of words that mean all layers alike.
fn pattern(case: &Case) -> Option<Pattern> {
    case.plan.layers.first().copied()
}

/// A stride counts blocks.
fn zero_stride(case: &Case) -> Vec<Finding> {
    match strided(case) {
        Some(Strided { stride: 0, .. }) => one("stride", "a stride of 0 blocks", "write stride = 64"),
        _ => vec![],
    }
}

/// A query sees its own block at least.
fn zero_local(case: &Case) -> Vec<Finding> {
    match strided(case) {
        Some(Strided { local: Some(0), .. }) => {
            one("local", "0 local blocks hide a query's own", "write local = 1, or leave it out")
        }
        _ => vec![],
    }
}

/// Every first block of one is every block.
fn stride_hides_nothing(case: &Case) -> Vec<Finding> {
    match strided(case) {
        Some(Strided { stride: 1, .. }) => {
            one("stride", "a stride of 1 block hides nothing", "`attention: full` says the same")
        }
        _ => vec![],
    }
}

/// A group is a share of the target.
fn group_range(case: &Case) -> Vec<Finding> {
    match case.recipe.attention {
        Some(Attention::ShiftedGroups { group: Some(group) }) if !(group > 0.0 && group <= 1.0) => {
            one("group", format!("group {group} is out of (0, 1]"), "write group = 1/4")
        }
        _ => vec![],
    }
}

/// Half of the heads shift their groups by half a group.
fn group_odd(case: &Case) -> Vec<Finding> {
    match (&case.recipe.attention, pattern(case)) {
        (Some(Attention::ShiftedGroups { group }), Some(Pattern::ShiftedGroups { size })) => {
            let in_range = group.is_none_or(|group| group > 0.0 && group <= 1.0);
            if !in_range || (size >= 2 && size.is_multiple_of(2)) {
                return vec![];
            }
            one("group", format!("a group of {size} tokens has no half"), "write a share that makes an even number")
        }
        _ => vec![],
    }
}

/// LongLoRA cuts a sequence into whole groups; what is left over would be a short one that the other stages don't have.
fn group_does_not_divide(case: &Case) -> Vec<Finding> {
    let Some(Pattern::ShiftedGroups { size }) = pattern(case).filter(|_| group_odd(case).is_empty()) else {
        return vec![];
    };
    let uneven = case.plan.stages.iter().enumerate().find(|(_, stage)| stage.length % size.max(1) != 0);
    uneven.map_or(vec![], |(index, stage)| {
        let length = tokens(stage.length);
        let message = format!("groups of {} tokens do not divide stage {}'s length {length}", tokens(size), index + 1);
        one("group", message, format!("write a length that is a multiple of {}", tokens(size)))
    })
}

/// Groups make training cheaper; the trained model attends in full (arXiv 2309.12307).
fn groups_without_training(case: &Case) -> Vec<Finding> {
    match case.recipe.attention {
        Some(Attention::ShiftedGroups { .. }) if case.recipe.train.is_empty() => {
            let message = "shifted groups are for training, and nothing is trained";
            one("group", message, "write `attention: full`, or add a `train:` stage")
        }
        _ => vec![],
    }
}

fn gates<'a>(case: &Case<'a>) -> Option<&'a [Vec<f64>]> {
    match &case.recipe.attention {
        Some(Attention::Duo { gates: Gates::Given(gates), .. }) => Some(gates),
        _ => None,
    }
}

/// A gate for each key/value head of each layer; a layer's heads are the bits of a number.
fn gates_shape(case: &Case) -> Vec<Finding> {
    let (layers, heads) = (case.recipe.model.layers, case.recipe.model.kv_heads);
    if heads > MOST_HEADS && matches!(case.recipe.attention, Some(Attention::Duo { .. })) {
        let message = format!("{heads} key/value heads, {MOST_HEADS} are the most");
        return one("gates", message, "write another attention");
    }
    let Some(gates) = gates(case) else { return vec![] };
    let uneven = gates.iter().find(|layer| layer.len() != heads);
    let got = match uneven {
        Some(layer) => format!("a layer of {} gates", layer.len()),
        None if gates.len() != layers => format!("{} layers of gates", gates.len()),
        None => return vec![],
    };
    one(
        "gates",
        format!("{got}, the model has {layers} layers of {heads} key/value heads"),
        "use this model's own gates",
    )
}

/// A gate mixes two attentions.
fn gate_range(case: &Case) -> Vec<Finding> {
    let wrong = gates(case).into_iter().flatten().flatten().find(|gate| !(0.0..=1.0).contains(*gate));
    wrong.map_or(vec![], |gate| one("gates", format!("gate {gate} is out of [0, 1]"), "gates are 0 to 1"))
}

/// A share of all heads.
fn sparsity_range(case: &Case) -> Vec<Finding> {
    match case.recipe.attention {
        Some(Attention::Duo { sparsity: Some(share), .. }) if !(0.0..=1.0).contains(&share) => {
            one("sparsity", format!("sparsity {share} is out of [0, 1]"), "write sparsity = 50%")
        }
        _ => vec![],
    }
}

/// A streaming head sees its own token at least.
fn streaming_range(case: &Case) -> Vec<Finding> {
    match case.recipe.attention {
        Some(Attention::Duo { recent: Some(0), .. }) => {
            one("recent", "a streaming head that sees no token", "write recent = 256")
        }
        _ => vec![],
    }
}

/// The quantile ignores what the gates say: of the published Llama-3 gates, 81% are above one half, and half of the heads
/// stream all the same.
fn needed_heads_stream(case: &Case) -> Vec<Finding> {
    let Some(gates) = gates(case) else { return vec![] };
    let streams = |layer: usize, head: usize| case.plan.layers.get(layer).is_some_and(|pattern| pattern.streams(head));
    let heads =
        gates.iter().enumerate().flat_map(|(l, gates)| gates.iter().enumerate().map(move |(h, gate)| (l, h, *gate)));
    let needed = heads.filter(|(layer, head, gate)| *gate > 0.5 && streams(*layer, *head)).count();
    if needed == 0 {
        return vec![];
    }
    let message = format!("{needed} heads with a gate above 0.5 stream at this sparsity");
    one("sparsity", message, "a smaller sparsity keeps them")
}

/// A chunk has tokens, and its local part is a part of it.
fn chunk_range(case: &Case) -> Vec<Finding> {
    let Some(Attention::DualChunk { chunk, local, form }) = case.recipe.attention else {
        return vec![];
    };
    let whole = chunk.unwrap_or(case.plan.model.context / 4 * 3);
    if whole == 0 {
        return one("chunk", "a chunk of 0 tokens", "leave it out for 3/4 of the model's own window");
    }
    match local {
        Some(0) => one("local", "0 local tokens leave no exact distance behind a border", "leave it out"),
        Some(local) if form == Some(Form::Code) && local >= whole => {
            let message = format!("local {local} is not below chunk {whole}: the program takes it off the chunk");
            one("local", message, format!("write local = {}", (whole / 6).max(1)))
        }
        _ => vec![],
    }
}

/// No query may stand farther from a key than the model was trained for; that is the point of the method.
fn chunk_beyond_native(case: &Case) -> Vec<Finding> {
    let native = case.plan.model.context;
    match (&case.recipe.attention, pattern(case)) {
        (Some(Attention::DualChunk { .. }), Some(Pattern::DualChunk { farthest, .. })) if farthest >= native => {
            let message = format!("distances up to {farthest} leave the model's own window of {}", tokens(native));
            one("chunk", message, format!("write chunk = {}", native / 4 * 3))
        }
        _ => vec![],
    }
}

/// Groups share far positions, and what is near keeps its own.
fn self_extend_range(case: &Case) -> Vec<Finding> {
    let native = case.plan.model.context;
    match case.recipe.attention {
        Some(Attention::SelfExtend { group: 0, .. }) => one("group", "a group of 0 tokens", "write group = 8"),
        Some(Attention::SelfExtend { window, .. }) if window == 0 || window >= native => {
            let message = format!("window {window} is not between 1 and the model's own {native}");
            one("window", message, format!("write window = {}", (native / 4).max(1)))
        }
        _ => vec![],
    }
}

/// (native − window) · group + window tokens are within reach (arXiv 2401.01325, section 3).
fn self_extend_below_target(case: &Case) -> Vec<Finding> {
    let (native, target) = (case.plan.model.context, case.plan.target);
    match case.recipe.attention {
        Some(Attention::SelfExtend { group: group @ 1.., window }) if (1..native).contains(&window) => {
            let reach = (native - window).saturating_mul(group).saturating_add(window);
            if reach >= target {
                return vec![];
            }
            let needed = (target - window).div_ceil(native - window);
            let message = format!("group {group} reaches {}, the target is {}", tokens(reach), tokens(target));
            one("group", message, format!("write group = {needed}"))
        }
        _ => vec![],
    }
}

/// Both `positions` and these words say where a token stands.
fn two_position_schemes(case: &Case) -> Vec<Finding> {
    let skips = !matches!(case.recipe.positions, None | Some(Positions::Contiguous));
    if !skips || !pattern(case).is_some_and(Pattern::remaps) {
        return vec![];
    }
    let message = "this attention gives every token its own position, and so does the scheme";
    vec![Finding::new(Field::new("positions"), message.into(), "write positions: contiguous")]
}
