use super::*;
use crate::presets;
use crate::scaling::Scaling;

const LLAMA2: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "intermediate_size": 11008, "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 32, "rms_norm_eps": 1e-05, "rope_scaling": null, "tie_word_embeddings": false,
    "torch_dtype": "float16", "vocab_size": 32000, "head_dim": null, "quirk": {"kept": [1, 2]}}"#;

fn with(key: &str, value: Value) -> HfConfig {
    let mut config = HfConfig::parse(LLAMA2).unwrap();
    config.set(key, value);
    config
}

fn yarn() -> RopePlan {
    let scaling = Scaling::Yarn {
        factor: 32.0,
        original: 4096,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: yarn_factor(),
        truncate: true,
    };
    RopePlan { theta: 10_000.0, scaling, head_dim: 128 }
}

fn yarn_factor() -> f64 {
    crate::rope::yarn_attention_factor(32.0)
}

#[test]
fn an_old_file_is_read_as_the_preset() {
    assert_eq!(HfConfig::parse(LLAMA2).unwrap().llama().unwrap(), presets::llama2_7b());
}

#[test]
fn every_preset_survives_a_round_trip() {
    for name in presets::NAMES {
        let model = presets::named(name).unwrap();
        let text = HfConfig::of(&model).to_json();
        assert_eq!(HfConfig::parse(&text).unwrap().llama().unwrap(), model, "{name}");
    }
}

#[test]
fn unknown_keys_stay_in_their_place() {
    let config = HfConfig::parse(LLAMA2).unwrap().with_rope(&yarn(), 131_072);
    assert_eq!(config.get("quirk"), Some(&json!({ "kept": [1, 2] })));
    let keys: Vec<&String> = config.keys.keys().collect();
    assert_eq!(&keys[..3], ["architectures", "model_type", "hidden_size"]);
    assert_eq!(HfConfig::parse(&config.to_json()).unwrap(), config);
}

#[test]
fn both_spellings_are_written_and_agree() {
    let config = HfConfig::of(&presets::llama2_7b()).with_rope(&yarn(), 131_072);
    let words = json!({
        "rope_type": "yarn", "type": "yarn", "rope_theta": 10000.0, "factor": 32.0,
        "original_max_position_embeddings": 4096, "beta_fast": 32.0, "beta_slow": 1.0,
        "attention_factor": yarn_factor(), "truncate": true,
    });
    assert_eq!(config.get("rope_scaling"), Some(&words));
    assert_eq!(config.get("rope_parameters"), Some(&words));
    assert_eq!(config.get("rope_theta"), Some(&json!(10000.0)));
    assert_eq!(config.get("max_position_embeddings"), Some(&json!(131_072)));
    let model = config.llama().unwrap();
    assert_eq!((model.context, model.rope_scaling), (131_072, yarn().scaling));
}

#[test]
fn a_dynamic_law_keeps_the_original_window() {
    let rope = RopePlan { theta: 1e4, scaling: Scaling::Dynamic { factor: 8.0, original: 4096 }, head_dim: 128 };
    let config = HfConfig::of(&presets::llama2_7b()).with_rope(&rope, 32_768);
    assert_eq!(config.get("max_position_embeddings"), Some(&json!(4096)));
    assert_eq!(config.llama().unwrap().rope_scaling, rope.scaling);
}

#[test]
fn each_spelling_alone_is_read() {
    let linear = Scaling::Linear { factor: 8.0 };
    let old = with("rope_scaling", json!({ "type": "linear", "factor": 8.0 })).llama().unwrap();
    assert_eq!((old.rope_theta, old.rope_scaling), (1e4, linear.clone()));
    let new =
        with("rope_parameters", json!({ "rope_type": "linear", "factor": 8, "rope_theta": 5e5 })).llama().unwrap();
    assert_eq!((new.rope_theta, new.rope_scaling), (5e5, linear));
    let bare = with("rope_parameters", json!({ "rope_theta": 5e5 })).llama().unwrap();
    assert_eq!((bare.rope_theta, bare.rope_scaling), (5e5, Scaling::Default));
    assert_eq!(with("rope_theta", json!(2e8)).llama().unwrap().rope_theta, 2e8);
}

#[test]
fn of_two_spellings_the_old_one_wins() {
    let mut config = with("rope_parameters", json!({ "rope_type": "yarn", "factor": 4.0, "rope_theta": 5e5 }));
    config.set("rope_scaling", json!({ "type": "linear", "factor": 8.0 }));
    let model = config.llama().unwrap();
    assert_eq!((model.rope_theta, model.rope_scaling), (5e5, Scaling::Linear { factor: 8.0 }));
}

#[test]
fn yarn_is_filled_in_as_transformers_does() {
    let deepseek = json!({ "rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096,
        "mscale": 1.0, "mscale_all_dim": 1.0 });
    let Scaling::Yarn { attention_factor, beta_fast, .. } =
        with("rope_scaling", deepseek).llama().unwrap().rope_scaling
    else {
        panic!("not yarn")
    };
    assert_eq!((attention_factor, beta_fast), (1.0, 32.0));
    let bare = json!({ "rope_type": "yarn", "factor": null, "original_max_position_embeddings": 1024 });
    let Scaling::Yarn { factor, .. } = with("rope_scaling", bare).llama().unwrap().rope_scaling else {
        panic!("not yarn")
    };
    assert_eq!(factor, 4.0);
}

#[test]
fn missing_shapes_follow_hugging_face() {
    let mut config = with("num_key_value_heads", Value::Null);
    config.set("hidden_size", json!(2048));
    let model = config.llama().unwrap();
    assert_eq!((model.kv_heads, model.head_dim), (32, 64));
}

#[track_caller]
fn refused(key: &str, value: Value, words: &str) {
    let error = with(key, value).llama().unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn errors_name_the_key_what_was_expected_and_what_is_there() {
    refused("hidden_size", json!("wide"), "`hidden_size`: expected a positive whole number, got \"wide\"");
    refused("num_hidden_layers", json!(0), "`num_hidden_layers`: expected a positive whole number, got 0");
    refused("vocab_size", json!(-3), "`vocab_size`");
    refused("rms_norm_eps", json!([]), "`rms_norm_eps`: expected a number, got []");
    refused("tie_word_embeddings", json!(1), "`tie_word_embeddings`: expected true or false, got 1");
    refused("rope_scaling", json!(8.0), "`rope_scaling`: expected an object, got 8.0");
    refused("rope_scaling", json!({ "factor": 8.0 }), "`rope_scaling.rope_type`: expected a text, got null");
    refused("rope_scaling", json!({ "type": "linear" }), "`rope_scaling.factor`: expected a number, got null");
    refused("rope_theta", json!(0.5), "`rope_theta`: expected a number above 1");
}

#[test]
fn other_models_are_refused_by_name() {
    refused(
        "model_type",
        json!("gemma2"),
        "only \"llama\", \"mistral\", \"ministral\", \"qwen2\" or \"qwen3\" is supported, got \"gemma2\"",
    );
    refused("attention_bias", json!(true), "`attention_bias`: only false is supported, got true");
    refused("hidden_act", json!("gelu"), "`hidden_act`");
    refused("rope_scaling", json!({ "rope_type": "proportional", "factor": 2.0 }), "`rope_type`: only default, linear");
    refused("rope_scaling", json!({ "rope_type": "longrope", "factor": 2.0 }), "`rope_scaling.short_factor`");
    refused("rope_scaling", json!({ "rope_type": "default", "partial_rotary_factor": 0.5 }), "`partial_rotary_factor`");
}

#[test]
fn mistral_without_a_sliding_window_is_a_llama() {
    let mistral = HfConfig::of(&presets::mistral_7b()).to_json().replace("\"llama\"", "\"mistral\"");
    let mut mistral = HfConfig::parse(&mistral).unwrap();
    assert_eq!(mistral.llama().unwrap(), presets::mistral_7b());
    mistral.set("sliding_window", Value::Null);
    assert_eq!(mistral.llama().unwrap(), presets::mistral_7b());
    mistral.set("sliding_window", json!(0));
    assert!(mistral.llama().unwrap_err().to_string().contains("`sliding_window`: expected a positive whole number"));
}

/// Mistral 7B v0.1.
#[test]
fn a_sliding_window_is_the_model_s_own() {
    let model = Llama { window: 4096, ..presets::mistral_7b() };
    let config = HfConfig::of(&model);
    assert_eq!(config.get("architectures"), Some(&json!(["MistralForCausalLM"])));
    assert_eq!(config.llama().unwrap(), model);
    let window = Pattern::Window { window: 4096, sink: 0 };
    let sliding = |layers: &[Pattern]| config.clone().with_attention(layers).get("sliding_window").cloned();
    assert_eq!(sliding(&[window, window]), Some(json!(4096)));
    assert_eq!(sliding(&[window, Pattern::Full]), Some(Value::Null));
    assert_eq!(sliding(&[Pattern::Window { window: 4096, sink: 4 }; 2]), Some(Value::Null));
    let mut recipe = crate::samples::bare();
    (recipe.context.target, recipe.model) = (model.context, model);
    assert!(recipe.plan().unwrap().layers.iter().all(|pattern| *pattern == window));
    recipe.attention = Some(crate::recipe::Attention::Full);
    assert!(recipe.plan().unwrap().layers.iter().all(|pattern| *pattern == Pattern::Full));
    let llama = HfConfig::of(&presets::llama2_7b());
    assert_eq!(llama.clone().with_attention(&[window]), llama);
}

fn hybrid(window: usize) -> [Pattern; 2] {
    [Pattern::Window { window, sink: 4 }, Pattern::Full]
}

#[test]
fn windows_in_some_layers_are_a_ministral() {
    let config = HfConfig::parse(LLAMA2).unwrap().as_ministral(&hybrid(512)).unwrap();
    assert_eq!(config.get("layer_types"), Some(&json!(["sliding_attention", "full_attention"])));
    assert_eq!(config.get("architectures"), Some(&json!(["MinistralForCausalLM"])));
    assert_eq!(config.get("sliding_window"), Some(&json!(512)));
    let read = HfConfig::parse(&config.to_json()).unwrap();
    assert_eq!(read.llama().unwrap(), Llama { window: 512, ..presets::llama2_7b() });
    let full = read.with_attention(&[Pattern::Strided { block: 4, stride: 3, local: 2 }, Pattern::Full]);
    assert_eq!(full.get("layer_types"), Some(&json!(["full_attention", "full_attention"])));
    assert_eq!(full.llama().unwrap(), presets::llama2_7b());
}

#[test]
fn what_no_ministral_has_is_refused() {
    let llama = || HfConfig::parse(LLAMA2).unwrap();
    let said = |config: HfConfig, layers: &[Pattern]| config.as_ministral(layers).unwrap_err().to_string();
    let two = [hybrid(512), hybrid(256)].concat();
    assert!(said(llama(), &two).contains("got [256, 512]"));
    assert!(said(llama(), &[Pattern::Full]).contains("got []"));
    assert!(said(llama(), &[Pattern::SelfExtend { group: 4, window: 8 }]).contains("SelfExtend"));
    assert!(said(HfConfig::of(&presets::qwen2_7b()), &hybrid(512)).contains("got qwen2"));
}

fn qwen(name: &str, key: &str, value: Value) -> Result<Llama, ConfigError> {
    let mut config = HfConfig::of(&presets::named(name).unwrap());
    config.set(key, value);
    config.llama()
}

/// Qwen2-7B's file has a window that it does not use.
#[test]
fn qwens_are_told_by_their_type() {
    for (name, architecture, model_type) in
        [("qwen2_7b", "Qwen2ForCausalLM", "qwen2"), ("qwen3_8b", "Qwen3ForCausalLM", "qwen3")]
    {
        let config = HfConfig::of(&presets::named(name).unwrap());
        assert_eq!(config.get("architectures"), Some(&json!([architecture])));
        assert_eq!(config.get("model_type"), Some(&json!(model_type)));
        assert_eq!(qwen(name, "sliding_window", json!(131_072)).unwrap(), presets::named(name).unwrap());
        let error = qwen(name, "use_sliding_window", json!(true)).unwrap_err().to_string();
        assert!(error.contains("`use_sliding_window`: only false is supported, got true"), "{error}");
    }
    let error = qwen("qwen3_8b", "attention_bias", json!(true)).unwrap_err().to_string();
    assert!(error.contains("`attention_bias`: only false is supported, got true"), "{error}");
    assert_eq!(qwen("qwen3_0_6b", "head_dim", Value::Null).unwrap().head_dim, 128);
    assert_eq!(qwen("qwen2_0_5b", "head_dim", Value::Null).unwrap().head_dim, 64);
}

#[test]
fn what_is_no_configuration_says_so() {
    let error = |text: &str| HfConfig::parse(text).unwrap_err().to_string();
    assert!(error("{").contains("line 1 column"), "{}", error("{"));
    assert_eq!(error("[1]"), "config.json: expected an object, got a list");
    assert_eq!(HfConfig::parse("{}").unwrap().llama().unwrap_err(), ConfigError::Missing { key: "model_type" });
    let bare = HfConfig::parse(r#"{"model_type": "llama"}"#).unwrap().llama().unwrap_err();
    assert_eq!(bare, ConfigError::Missing { key: "hidden_size" });
}
