//! What is particular to a stage, a line each; nothing for what every stage does.

use recipe_core::{
    Documents, Form, Learns, MergePlan, Plan, PositionsPlan, SelectPlan, StageKind, StagePlan, TokenType,
};

use super::page::wrapped;
use super::{number, rope_words};

/// The lines of all stages.
pub(super) fn particulars(plan: &Plan) -> String {
    let stages = plan.stages.iter().enumerate();
    stages.flat_map(|(index, stage)| lines(index + 1, stage, plan)).map(|line| wrapped(&line)).collect()
}

fn lines(number: usize, stage: &StagePlan, plan: &Plan) -> Vec<String> {
    let mut words = Vec::new();
    match stage.learns {
        Learns::Gates { sink, recent, reg, form } => {
            let through = if form == Form::Code { ", open gates let the full model's attention through" } else { "" };
            words.push(format!(
                "gates, weights stay: distance of last hidden states + {} × mean gate; streaming heads see {} recent tokens + \
                 {sink} sinks{through}",
                number::plain(reg),
                number::tokens(recent)
            ));
        }
        Learns::Weights if stage.kind != StageKind::Extend => words.push(stage.kind.word().to_owned()),
        Learns::Weights => {}
    }
    if let Some(positions) = position_words(stage.positions) {
        words.push(format!("positions {positions}, up to {}", number::tokens(stage.reach)));
    }
    if let Some(select) = select_words(&stage.select) {
        words.push(format!("select {select}"));
    }
    if stage.rope != plan.rope {
        words.push(format!("rope {}", rope_words(&stage.rope)));
    }
    if stage.documents == Documents::Joined {
        words.push("the documents of a sequence see each other".to_owned());
    }
    let mut lines: Vec<String> = words.into_iter().map(|words| format!("stage {number}: {words}\n")).collect();
    if stage.merge != MergePlan::None {
        lines.push(format!("after stage {number}: {}\n", merge_words(&stage.merge)));
    }
    lines
}

/// What a merge does.
pub(crate) fn merge_words(merge: &MergePlan) -> String {
    let (base, form) = match merge {
        MergePlan::None => return "not merged".to_owned(),
        MergePlan::Linear { base } => (base, "along a line"),
        MergePlan::Spherical { base } => (base, "along an arc"),
    };
    format!("merged with {} of the original weights, {form}; AdamW starts anew", number::percent(*base))
}

/// Which sentences stay; nothing where everything is read.
fn select_words(select: &SelectPlan) -> Option<String> {
    let SelectPlan::Impactful { types, keep, form } = select else { return None };
    let with = match form {
        Form::Paper => types.iter().map(TokenType::word).collect::<Vec<_>>().join(", "),
        Form::Code => "a digit".to_owned(),
    };
    Some(format!("impactful: sentences with {with}; {} of the others", number::percent(*keep)))
}

/// The scheme as a recipe writes it; nothing for contiguous positions.
pub(super) fn position_words(positions: PositionsPlan) -> Option<String> {
    Some(match positions {
        PositionsPlan::Contiguous => return None,
        PositionsPlan::LongRecipe => "longrecipe".to_owned(),
        PositionsPlan::Pose { chunks, form: Form::Paper } => format!("pose(chunks = {chunks})"),
        PositionsPlan::Pose { chunks, form: Form::Code } => format!("pose(chunks = {chunks}, form = code)"),
        PositionsPlan::Cream { sigma } => format!("cream(sigma = {sigma})"),
        PositionsPlan::E2 { scale_max, .. } => format!("e2(scale_max = {scale_max})"),
        PositionsPlan::Random => "random".to_owned(),
    })
}
