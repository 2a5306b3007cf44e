//! `data: […]`, the recipe's and the stages': sources with their shares.

use proc_macro2::TokenStream;
use recipe_core::{Field, Loss, Source, SourceKind};

use crate::ast::{Node, Value};
use crate::bind::Context;
use crate::kind::{Datum, Kind, World};
use crate::words;

/// `jsonl("corpus/*.jsonl") * 90%`.
pub(super) fn source(context: &mut Context, value: &Value, field: &Field) -> Option<Source> {
    let (written, share) = match &value.node {
        Node::Share(source, share) => (&**source, Some(&**share)),
        _ => (value, None),
    };
    if let (Some(source), Node::Percent(_) | Node::Number(_) | Node::Ratio(..)) = (share, &written.node) {
        let help = format!("write `{} * {}`", source.node.text(), written.node.text());
        context.problem(&value.tokens, "a share stands behind its source", help);
        return broken_source(context);
    }
    let Some((word, written)) = context.word("data", words::DATA, &[], written) else {
        return broken_source(context);
    };
    let share = share.map(|share| share_of(context, share, field));
    let bound = context.bind(word, written, field);
    if word.name == "replay" {
        let Some(inner) = written.args.first() else { return broken_source(context) };
        return source(context, &inner.value, field).map(|inner| replayed(context, inner, &value.tokens, share));
    }
    let glob = || bound.need::<String>("glob").into();
    let said = |name: &str, usual: &'static str| bound.maybe::<String>(name).map_or(usual.into(), Into::into);
    let named = |usual: &'static str| said("field", usual);
    let kind = match word.name {
        "text" => SourceKind::Text { glob: glob() },
        "jsonl" => SourceKind::Jsonl { glob: glob(), field: named("text") },
        "parquet" => SourceKind::Parquet { glob: glob(), field: named("text") },
        "dataset" => SourceKind::Dataset {
            path: bound.need::<String>("path").into(),
            split: said("split", "train"),
            config: said("config", ""),
            field: named("text"),
        },
        "chat" => SourceKind::Chat { glob: glob(), field: named("messages") },
        "qa" => SourceKind::Qa,
        _ => SourceKind::Passkey,
    };
    Some(Source {
        share,
        upsample: bound.maybe("upsample"),
        times: bound.maybe("times"),
        asked: bound.maybe("keys").or(bound.maybe("questions")),
        depth: bound.maybe("depth"),
        loss: bound.maybe("loss").map(loss),
        ..Source::new(kind)
    })
}

/// `replay(text("short/*.txt")) * 20%`: the share stands behind the whole.
fn replayed(context: &mut Context, inner: Source, tokens: &TokenStream, share: Option<f64>) -> Source {
    if inner.replay {
        context.problem(tokens, "a replay of a replay is the same replay", "remove one of the two");
    } else if inner.share.is_some() {
        let help = "write `replay(text(\"short/*.txt\")) * 20%`";
        context.problem(tokens, "a share stands behind the whole source", help);
    }
    Source { share, replay: true, ..inner }
}

fn loss(word: &'static str) -> Loss {
    if word == "answers" { Loss::Answers } else { Loss::All }
}

/// Kept, without a share, in one of two worlds: no sum of shares is then the same in both.
fn broken_source(context: &Context) -> Option<Source> {
    (context.world == World::High).then_some(Source::new(SourceKind::Passkey))
}

fn share_of(context: &mut Context, value: &Value, field: &Field) -> f64 {
    context.spans.note(&field.key("share"), &value.tokens);
    match Kind::Share.read(value) {
        Ok(Datum::Number(share)) => return share,
        Ok(_) => {}
        Err(problems) => problems.into_iter().for_each(|problem| context.problems.push(problem)),
    }
    if context.world == World::Low { 0.01 } else { 0.02 }
}
