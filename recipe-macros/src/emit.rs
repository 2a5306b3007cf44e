//! A checked plan → Rust. Nothing here can fail.

use proc_macro2::TokenStream;
use quote::quote;
use recipe_core::{AdaptPlan, Context, Pattern, Plan, Recipe, Target, presets};

use crate::ast::Header;
use crate::check::Checked;
use crate::constant::{self, integer};

/// The recipe's type, and the files it depends on:
///
/// ```text
/// const _: &[u8] = ::core::include_bytes!("/home/me/model/config.json");
/// ```
pub(crate) fn recipe(header: &Header, checked: &Checked) -> TokenStream {
    let tracked = checked.files.iter().map(|file| {
        quote!(
            const _: &[u8] = ::core::include_bytes!(#file);
        )
    });
    let item = item(header, &checked.plan);
    quote!(#item #(#tracked)*)
}

/// Every problem, and a recipe of the same name with the same types, so that code which uses it has no errors of its own.
pub(crate) fn stub(header: &Header, problems: TokenStream) -> TokenStream {
    let model = presets::tiny();
    let neutral = Recipe {
        name: header.name.to_string(),
        context: Context { native: None, target: model.context },
        model,
        rope: None,
        attention: None,
        positions: None,
        select: None,
        adapt: None,
        optimizer: None,
        data: Vec::new(),
        train: Vec::new(),
        eval: Vec::new(),
        allow: Vec::new(),
        device: None,
    };
    // A recipe that asks for nothing has no fault; a test holds that.
    let item = neutral.plan().map(|plan| item(header, &plan)).unwrap_or_default();
    quote!(#problems #item)
}

/// ```text
/// /// The user's words.
/// pub struct Name;
/// impl Name { pub const PLAN: Plan = …; pub const REHEARSAL: Plan = …; pub const KERNELS: … = …; }
/// impl ::context_recipe::Recipe for Name { … }
/// ```
fn item(header: &Header, plan: &Plan) -> TokenStream {
    let Header { docs, visibility, name } = header;
    let docs = if docs.is_empty() {
        vec![quote!(#[doc = "A context recipe."])]
    } else {
        docs.iter().map(|doc| quote!(#doc)).collect()
    };
    let rehearsal = plan.rehearsal();
    let (constants, implementation) = (constants(plan, &rehearsal), implementation(plan, &rehearsal));
    quote! {
        #(#docs)*
        #[derive(Clone, Copy, Debug)]
        #visibility struct #name;

        impl #name { #constants }

        impl ::context_recipe::Recipe for #name { #implementation }
    }
}

/// ```text
/// /// What the recipe comes to, every number settled.
/// pub const PLAN: ::context_recipe::plan::Plan = { use ::context_recipe::plan::*; Plan { … } };
/// ```
fn constants(plan: &Plan, rehearsal: &Plan) -> TokenStream {
    let (kernels, plan, rehearsal) = (kernels(plan), constant::of(plan), constant::of(rehearsal));
    quote! {
        /// What the recipe comes to, every number settled: the model, the rotary law, each layer's pattern, the schedule.
        pub const PLAN: ::context_recipe::plan::Plan = {
            use ::context_recipe::plan::*;
            #plan
        };

        /// The same recipe at toy size, as `rehearse` runs it.
        pub const REHEARSAL: ::context_recipe::plan::Plan = {
            use ::context_recipe::plan::*;
            #rehearsal
        };

        /// What a kernel compiler is told (`-D NAME=value`), once for each distinct attention pattern.
        pub const KERNELS: &'static [&'static [(&'static str, usize)]] = #kernels;
    }
}

/// ```text
/// &[
///     &[("HEAD_DIM", 128), ("HEADS", 32), ("KV_HEADS", 32), ("BLOCK", 64)],
///     &[("HEAD_DIM", 128), ("HEADS", 32), ("KV_HEADS", 32), ("BLOCK", 64), ("WINDOW", 4096), ("SINK", 4)],
/// ]
/// ```
fn kernels(plan: &Plan) -> TokenStream {
    let mut patterns: Vec<Pattern> = Vec::new();
    for pattern in plan.layers.iter() {
        if !patterns.contains(pattern) {
            patterns.push(*pattern);
        }
    }
    let define = |name: &str, value: usize| {
        let value = integer(value as u64);
        quote!((#name, #value))
    };
    let kernel = |pattern: Pattern| {
        let mut defines = vec![
            define("HEAD_DIM", plan.model.head_dim),
            define("HEADS", plan.model.heads),
            define("KV_HEADS", plan.model.kv_heads),
            define("BLOCK", plan.block),
        ];
        defines.extend(pattern_constants(pattern).iter().map(|(name, value)| define(name, *value)));
        quote!(&[#(#defines),*])
    };
    let kernels = patterns.into_iter().map(kernel);
    quote!(&[#(#kernels),*])
}

/// The numbers of a pattern, as a kernel's source calls them.
fn pattern_constants(pattern: Pattern) -> Vec<(&'static str, usize)> {
    match pattern {
        Pattern::Full => vec![],
        Pattern::Window { window, sink } => vec![("WINDOW", window), ("SINK", sink)],
        Pattern::Strided { stride, local, .. } => vec![("STRIDE", stride), ("LOCAL", local)],
        Pattern::ShiftedGroups { size } => vec![("GROUP", size)],
        Pattern::Duo { window, sink, .. } => vec![("STREAMING_WINDOW", window), ("STREAMING_SINK", sink)],
        Pattern::DualChunk { chunk, farthest } => vec![("CHUNK", chunk), ("FARTHEST", farthest)],
        Pattern::SelfExtend { group, window } => vec![("FAR_GROUP", group), ("NEAR", window)],
    }
}

/// ```text
/// const PLAN: ::context_recipe::plan::Plan = Self::PLAN;
/// /// The typed model: 32 layers, vocabulary 32000, …
/// type Model = ::context_recipe::model::Llama<32, 32_000, 4096, 4096, 4096, 11_008, 32, false, …>;
/// ```
fn implementation(plan: &Plan, rehearsal: &Plan) -> TokenStream {
    let (words, model) = (dimensions(plan), model(plan));
    let (small_words, small) = (dimensions(rehearsal), self::model(rehearsal));
    let model_doc = format!(" The typed model at full size: {words}.");
    let small_doc = format!(" The typed model at rehearsal size: {small_words}.");
    quote! {
        const PLAN: ::context_recipe::plan::Plan = Self::PLAN;
        const REHEARSAL: ::context_recipe::plan::Plan = Self::REHEARSAL;
        const KERNELS: &'static [&'static [(&'static str, usize)]] = Self::KERNELS;
        #[doc = #model_doc]
        type Model = #model;
        #[doc = #small_doc]
        type RehearsalModel = #small;
    }
}

/// ```text
/// ::context_recipe::model::Llama<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, ::context_recipe::model::Full, BIAS, NORM>
/// ```
fn model(plan: &Plan) -> TokenStream {
    let numbers = numbers(plan).into_iter().map(|(_, number)| integer(number as u64));
    let (tied, learning) = (plan.model.tied, learning(&plan.adapt));
    // Left out where the defaults say it: a Llama has neither.
    let family = (plan.model.qkv_bias || plan.model.qk_norm).then(|| {
        let (bias, norm) = (plan.model.qkv_bias, if plan.model.qk_norm { plan.model.head_dim } else { 0 });
        let norm = integer(norm as u64);
        quote!(, #bias, #norm)
    });
    quote!(::context_recipe::model::Llama<#(#numbers,)* #tied, #learning #family>)
}

/// Which tensors learn, as a type:
///
/// ```text
/// ::context_recipe::model::Lora<{ use ::context_recipe::model::learn::*; Q | K }, { use …; EMBED | NORM }>
/// ```
fn learning(adapt: &AdaptPlan) -> TokenStream {
    let AdaptPlan::Lora { targets, embed, norm, .. } = adapt else {
        return quote!(::context_recipe::model::Full);
    };
    let targets = bits(targets.iter().map(|target| match target {
        Target::Q => quote!(Q),
        Target::K => quote!(K),
        Target::V => quote!(V),
        Target::O => quote!(O),
        Target::Gate => quote!(GATE),
        Target::Up => quote!(UP),
        Target::Down => quote!(DOWN),
    }));
    let embed = embed.then(|| quote!(EMBED));
    let train = bits(embed.into_iter().chain(norm.then(|| quote!(NORM))));
    quote!(::context_recipe::model::Lora<#targets, #train>)
}

/// `{ use ::context_recipe::model::learn::*; Q | K }`; 0 for nothing.
fn bits(names: impl Iterator<Item = TokenStream>) -> TokenStream {
    let names: Vec<TokenStream> = names.collect();
    if names.is_empty() {
        return quote!(0);
    }
    quote!({
        use ::context_recipe::model::learn::*;
        #(#names)|*
    })
}

/// `32 layers, vocabulary 32000, …`: what the numbers of [`model`] mean.
fn dimensions(plan: &Plan) -> String {
    let words: Vec<String> = numbers(plan).into_iter().map(|(name, number)| format!("{name} {number}")).collect();
    let tied = if plan.model.tied { "tied" } else { "own" };
    let bias = if plan.model.qkv_bias { ", biases on q, k and v" } else { "" };
    let norm = if plan.model.qk_norm { ", norms on q and k" } else { "" };
    format!("{}, {tied} head{bias}{norm}", words.join(", "))
}

/// The model's dimensions in the order of its const parameters; rank 0 stands for no adapters.
fn numbers(plan: &Plan) -> [(&'static str, usize); 7] {
    let model = &plan.model;
    let rank = if let AdaptPlan::Lora { rank, .. } = plan.adapt { rank } else { 0 };
    [
        ("layers", model.layers),
        ("vocabulary", model.vocab),
        ("hidden", model.hidden),
        ("query width", model.query_width()),
        ("key-value width", model.kv_width()),
        ("ffn", model.ffn),
        ("rank", rank),
    ]
}
