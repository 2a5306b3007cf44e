//! `attention:`.

use recipe_core::{Attention, Field, Gates, Place, Sparse, Strided, Window};

use super::keys::form;
use super::model::names_a_file;
use crate::ast::{self, Value};
use crate::bind::{Bound, Context, place as place_of};
use crate::config;
use crate::kind::World;
use crate::words;

pub(super) fn attention(context: &mut Context, value: &Value) -> Attention {
    let Some((word, written)) = context.word("attention", words::ATTENTION, &[], value) else {
        let sparse = Sparse::Window(Window { window: 64, sink: None, block: None });
        return if context.world == World::Low { Attention::Full } else { Attention::Sparse(sparse) };
    };
    let bound = context.bind(word, written, &Field::new("attention"));
    match word.name {
        "window" | "strided" => Attention::Sparse(sparse(&bound, word.name == "strided")),
        "hybrid" => hybrid(context, written, &bound),
        "shifted_groups" => Attention::ShiftedGroups { group: bound.maybe("group") },
        "duo" => duo(context, &bound, names_a_file(value)),
        "dual_chunk" => Attention::DualChunk {
            chunk: bound.maybe("chunk"),
            local: bound.maybe("local"),
            form: bound.maybe("form").map(form),
        },
        "self_extend" => Attention::SelfExtend { group: bound.need("group"), window: bound.need("window") },
        _ => Attention::Full,
    }
}

/// Gates that cannot be read may have been a file's or learned: either guess stands for them in one of the two worlds.
fn duo(context: &mut Context, bound: &Bound, names_a_file: bool) -> Attention {
    let gates = match (bound.maybe::<&str>("gates"), names_a_file) {
        (Some(_), _) => Some(Gates::Learned),
        (None, true) => given(context, &bound.need::<String>("gates")),
        (None, false) => None,
    };
    match gates.or((context.world == World::High).then_some(Gates::Learned)) {
        Some(gates) => {
            let (sink, recent) = (bound.maybe("sink"), bound.maybe("recent"));
            Attention::Duo { gates, sparsity: bound.maybe("sparsity"), sink, recent }
        }
        None => Attention::Full,
    }
}

fn given(context: &mut Context, path: &str) -> Option<Gates> {
    match config::gates(path) {
        Ok((gates, file)) => {
            context.files.push(file);
            Some(Gates::Given(gates))
        }
        Err(wrong) => {
            let place = context.spans.place(&Field::new("attention.gates"));
            context.problem(&place, wrong.message, wrong.help);
            None
        }
    }
}

fn sparse(bound: &Bound, strided: bool) -> Sparse {
    let block = bound.maybe("block");
    if strided {
        return Sparse::Strided(Strided { stride: bound.need("stride"), local: bound.maybe("local"), block });
    }
    Sparse::Window(Window { window: bound.need("window"), sink: bound.maybe("sink"), block })
}

/// Its other layers are a window or strided; exactly one of the two is written.
fn hybrid(context: &mut Context, written: &ast::Word, bound: &Bound) -> Attention {
    let given = |name: &str| written.args.iter().find(|arg| arg.name.as_ref().is_some_and(|given| given == name));
    let strided = match (given("window"), given("stride")) {
        (Some(_), Some(stride)) => {
            let message = "`window` and `stride` are two kinds of sparse layers";
            context.problem(&stride.value.tokens, message, "write one of the two");
            true
        }
        (_, stride) => stride.is_some(),
    };
    let named = written.args.iter().all(|arg| arg.name.is_some());
    if given("window").is_none() && !strided && named {
        let message = "`hybrid` lacks what its other layers see";
        context.problem(&place_of(&written.name), message, "write window = 4096, or stride = 64");
        return Attention::Full;
    }
    match bound.maybe("full") {
        Some(full) => {
            Attention::Hybrid { full, place: bound.maybe("place").map(place), sparse: sparse(bound, strided) }
        }
        None => Attention::Sparse(sparse(bound, strided)),
    }
}

fn place(word: &'static str) -> Place {
    match word {
        "top" => Place::Top,
        "bottom" => Place::Bottom,
        "interleaved" => Place::Interleaved,
        _ => Place::Middle,
    }
}
