//! The selection of the paper and that of the released program.

use context_recipe::plan::{Form, SelectPlan, TokenType};
use context_recipe::recipe;

recipe! {
    pub Paper {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        positions: longrecipe,
        select: impactful(types = [aux, num], keep = 10%),
        train: [extend(steps = 100), replay(steps = 10, data = [text("short/*.txt")])],
    }
}

recipe! {
    pub Code {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        select: impactful(form = code),
        data: [text("a/*.txt"), chat("b/*.jsonl")],
        train: [extend(steps = 100)],
    }
}

recipe! {
    pub Whole {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        select: all,
        train: [extend(steps = 100)],
    }
}

fn main() {
    let SelectPlan::Impactful { types, keep, .. } = &Paper::PLAN.stages[0].select else { unreachable!() };
    assert!(**types == [TokenType::Num, TokenType::Aux] && *keep == 0.1);
    assert!(Paper::PLAN.stages[1].select == SelectPlan::All);
    let code = SelectPlan::Impactful { types: vec![TokenType::Num].into(), keep: 0.5, form: Form::Code };
    assert!(Code::PLAN.stages[0].select == code);
    assert!(Whole::PLAN.stages[0].select == SelectPlan::All);
}
