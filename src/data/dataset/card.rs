//! The `configs` of a dataset's README.md. They are YAML; what the Hub's own documentation shows of it is understood, which
//! spares a YAML library.

/// One entry of `configs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Configuration {
    pub(super) name: String,
    /// `default: true`.
    pub(super) usual: bool,
    /// Splits and their patterns, in order.
    pub(super) files: Vec<(String, String)>,
}

/// A line of the front matter: how far it is indented, whether it begins an item, key and value.
struct Line<'a> {
    indent: usize,
    item: bool,
    key: &'a str,
    value: &'a str,
}

/// What stands under `configs:` between the two lines of dashes at the top; empty where nothing does.
pub(super) fn configurations(card: &str) -> Vec<Configuration> {
    let Some(front) = card.strip_prefix("---").and_then(|rest| rest.split("\n---").next()) else { return vec![] };
    let mut lines = front.lines().filter_map(Line::of).skip_while(|line| line.key != "configs" || line.indent > 0);
    lines.next();
    let (mut all, mut split): (Vec<Configuration>, String) = (vec![], "train".to_owned());
    // Another key at the margin ends the list; its items may stand at the margin too.
    for line in lines.take_while(|line| line.indent > 0 || line.item) {
        if line.key == "config_name" {
            all.push(Configuration { name: line.value.to_owned(), ..Configuration::default() });
            continue;
        }
        let Some(last) = all.last_mut() else { continue };
        match line.key {
            "default" => last.usual = line.value == "true",
            "split" => split = line.value.to_owned(),
            "data_files" | "path" => {
                if line.key == "data_files" {
                    split = "train".to_owned();
                }
                last.files.extend(patterns(line.value).map(|pattern| (split.clone(), pattern)));
            }
            "" if line.item => last.files.push((split.clone(), line.value.to_owned())),
            _ => {}
        }
    }
    all
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let (item, text) = text.strip_prefix("- ").map_or((false, text), |text| (true, text.trim_start()));
        let (key, value) = match text.split_once(':') {
            Some((key, value)) if value.is_empty() || value.starts_with(' ') => (key.trim(), value),
            _ => ("", text),
        };
        Some(Self { indent, item, key, value: unquoted(value) })
    }
}

fn unquoted(value: &str) -> &str {
    value.trim().trim_matches(['"', '\''])
}

/// One pattern or `[several]`; none where they follow as a list.
fn patterns(value: &str) -> impl Iterator<Item = String> {
    let inside = value.trim_start_matches('[').trim_end_matches(']');
    inside.split(',').map(unquoted).filter(|pattern| !pattern.is_empty()).map(str::to_owned)
}
