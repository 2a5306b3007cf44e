//! `attention:` as a recipe spells it, read at run time: the macro's own reader exists only while rustc runs.

use context_recipe::plan::{Attention, FullLayers, Gates, Place, Sparse, Strided, Window};

/// Reads `full`, `window(1024, sink = 4)`, `strided(4, local = 2)`, `hybrid(full = 1/3, window = 1K)`,
/// `shifted_groups(group = 1/4)`, `duo(sparsity = 50%)`, `dual_chunk(chunk = 2K, local = 512)` or `self_extend(8, 1K)`.
/// The gates of `duo` are those of a model whose first key/value heads need the most.
pub(crate) fn attention(text: &str, layers: usize, kv_heads: usize) -> Result<Attention, String> {
    let mut call = Call::parse(text)?;
    let attention = match call.word {
        "full" => Attention::Full,
        "window" | "strided" => Attention::Sparse(sparse(&mut call)?),
        "hybrid" => Attention::Hybrid {
            full: FullLayers::Share(call.share("full")?.ok_or("hybrid(…) needs `full = 1/3`")?),
            place: call.place()?,
            sparse: sparse(&mut call)?,
        },
        "shifted_groups" => Attention::ShiftedGroups { group: call.share("group")? },
        "duo" => Attention::Duo {
            gates: Gates::Given(vec![(0..kv_heads).map(|head| 1.0 / (head + 1) as f64).collect(); layers]),
            sparsity: call.share("sparsity")?,
            sink: call.length("sink")?,
            recent: call.length("recent")?,
        },
        "dual_chunk" => Attention::DualChunk { chunk: call.length("chunk")?, local: call.length("local")?, form: None },
        "self_extend" => Attention::SelfExtend { group: call.needed("group")?, window: call.needed("window")? },
        other => return Err(format!("{other:?} is no attention pattern")),
    };
    match call.arguments.first() {
        None => Ok(attention),
        Some((name, value)) => {
            Err(format!("{text}: nothing takes {}{value}", name.map_or(String::new(), |n| n.to_owned() + " = ")))
        }
    }
}

fn sparse(call: &mut Call) -> Result<Sparse, String> {
    let block = call.length("block")?;
    if call.word == "strided" || call.arguments.iter().any(|(name, _)| *name == Some("stride")) {
        return Ok(Sparse::Strided(Strided { stride: call.needed("stride")?, local: call.length("local")?, block }));
    }
    Ok(Sparse::Window(Window { window: call.needed("window")?, sink: call.length("sink")?, block }))
}

/// `word(value, name = value)`; what has been read is taken out.
struct Call<'a> {
    word: &'a str,
    arguments: Vec<(Option<&'a str>, &'a str)>,
}

impl<'a> Call<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let text = text.trim();
        let Some((word, rest)) = text.split_once('(') else { return Ok(Call { word: text, arguments: vec![] }) };
        let inside = rest.strip_suffix(')').ok_or_else(|| format!("{text}: the bracket is not closed"))?;
        let argument = |text: &'a str| match text.split_once('=') {
            Some((name, value)) => (Some(name.trim()), value.trim()),
            None => (None, text.trim()),
        };
        let arguments = inside.split(',').filter(|argument| !argument.trim().is_empty()).map(argument).collect();
        Ok(Call { word: word.trim(), arguments })
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.arguments.iter().position(|(given, _)| *given == Some(name))?;
        Some(self.arguments.remove(at).1)
    }

    fn length(&mut self, name: &str) -> Result<Option<usize>, String> {
        self.take(name).map(length).transpose()
    }

    /// By its name, or as the first value without one.
    fn needed(&mut self, name: &str) -> Result<usize, String> {
        let unnamed = |call: &mut Self| {
            let at = call.arguments.iter().position(|(given, _)| given.is_none())?;
            Some(call.arguments.remove(at).1)
        };
        let word = self.word;
        length(self.take(name).or_else(|| unnamed(self)).ok_or_else(|| format!("{word}(…) needs `{name}`"))?)
    }

    fn share(&mut self, name: &str) -> Result<Option<f64>, String> {
        self.take(name).map(share).transpose()
    }

    fn place(&mut self) -> Result<Option<Place>, String> {
        let Some(place) = self.take("place") else { return Ok(None) };
        Ok(Some(match place {
            "middle" => Place::Middle,
            "top" => Place::Top,
            "bottom" => Place::Bottom,
            "interleaved" => Place::Interleaved,
            other => return Err(format!("{other:?} is no place; middle, top, bottom and interleaved are")),
        }))
    }
}

/// `4096`, `4K` or `1M`.
pub(crate) fn length(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let number: usize =
        digits.replace('_', "").parse().map_err(|_| format!("{text:?} is no length; 4096 and 4K are"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text:?} is too long"))
}

/// `1/3`, `30%` or `0.3`.
fn share(text: &str) -> Result<f64, String> {
    let number =
        |text: &str| text.trim().parse::<f64>().map_err(|_| format!("{text:?} is no share; 1/3, 30% and 0.3 are"));
    match (text.split_once('/'), text.strip_suffix('%')) {
        (Some((over, under)), _) => Ok(number(over)? / number(under)?),
        (None, Some(percent)) => Ok(number(percent)? / 100.0),
        (None, None) => number(text),
    }
}
