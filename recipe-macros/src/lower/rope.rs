//! `rope:`.

use recipe_core::{Field, LongRopeFactors, Rope};

use super::model::names_a_file;
use crate::ast::Value;
use crate::bind::{Bound, Context};
use crate::config;
use crate::kind::World;
use crate::words;

pub(super) fn rope(context: &mut Context, value: &Value) -> Rope {
    let Some((word, written)) = context.word("rope", words::ROPE, &[], value) else {
        return if context.world == World::Low { Rope::None } else { Rope::Interpolate { scale: 1e6 } };
    };
    let bound = context.bind(word, written, &Field::new("rope"));
    let scale = bound.need("scale");
    match word.name {
        "interpolate" => Rope::Interpolate { scale },
        "theta" => Rope::Theta { theta: bound.need("theta") },
        "ntk" => Rope::Ntk { scale },
        "dynamic_ntk" => Rope::DynamicNtk { scale },
        "yarn" => Rope::Yarn {
            scale,
            beta_fast: bound.maybe("beta_fast"),
            beta_slow: bound.maybe("beta_slow"),
            attention_factor: bound.maybe("attention_factor"),
            truncate: bound.maybe("truncate"),
        },
        "longrope" => longrope(context, value, &bound),
        "llama3" => Rope::Llama3 { scale, low: bound.maybe("low"), high: bound.maybe("high") },
        _ => Rope::None,
    }
}

/// Both lists are written, or a file names them.
fn longrope(context: &mut Context, value: &Value, bound: &Bound) -> Rope {
    let lists: [Option<Vec<f64>>; 2] = ["short", "long"].map(|name| bound.maybe(name));
    let attention_factor = bound.maybe("attention_factor");
    if let (true, Some(path)) = (names_a_file(value), bound.maybe::<String>("path")) {
        if lists.iter().any(Option::is_some) {
            context.problem(
                &value.tokens,
                "a file holds both lists, and a list stands beside it",
                "write one of the two",
            );
        }
        return match config::factors(&path) {
            Ok((factors, file)) => {
                context.files.push(file);
                Rope::LongRope(LongRopeFactors {
                    attention_factor: attention_factor.or(factors.attention_factor),
                    ..factors
                })
            }
            Err(wrong) => {
                let place = context.spans.place(&Field::new("rope.path"));
                context.problem(&place, wrong.message, wrong.help);
                Rope::None
            }
        };
    }
    let [Some(short), Some(long)] = lists else {
        let help = "write longrope(\"factors.json\"), or longrope(short = […], long = […])";
        context.problem(&value.tokens, "`longrope` lacks its factors", help);
        return Rope::None;
    };
    Rope::LongRope(LongRopeFactors { short, long, attention_factor })
}
