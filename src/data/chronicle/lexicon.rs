//! Every word that a chronicle uses. The embedded tokenizer holds each as one token, with the space before it.

/// First names; one person bears each in a document.
pub(super) const NAMES: [&str; 60] = [
    "ada", "adele", "agnes", "alma", "amos", "anton", "astrid", "basil", "bela", "boris", "carmen", "clara", "conrad",
    "cyrus", "dora", "edgar", "edith", "elsa", "emil", "felix", "flora", "frida", "greta", "gustav", "hana", "helga",
    "hugo", "ida", "igor", "irma", "ivan", "jakob", "jonas", "karl", "klara", "lena", "leo", "lorna", "lydia", "magda",
    "marek", "mira", "nadia", "nils", "olga", "oscar", "otto", "paula", "petra", "rosa", "rufus", "selma", "simon",
    "stella", "tomas", "ursula", "vera", "viktor", "wanda", "yusuf",
];

/// Where people live.
pub(super) const PLACES: [&str; 12] = [
    "ashford", "brenton", "colby", "dunmore", "elmwood", "farley", "grimsby", "hexham", "kelso", "oldford", "selby",
    "whitby",
];

/// What they hold: a colour and an object, each pair once in a document.
pub(super) const COLOURS: [&str; 8] = ["amber", "black", "blue", "copper", "golden", "green", "silver", "white"];

/// See [`COLOURS`].
pub(super) const OBJECTS: [&str; 10] =
    ["bell", "book", "bowl", "coin", "crown", "drum", "lamp", "mask", "ring", "sword"];

/// What they do for a living.
pub(super) const TRADES: [&str; 8] = ["baker", "doctor", "hunter", "miner", "poet", "sailor", "tailor", "weaver"];

/// Two digits are one token, so a key is two tokens.
pub(super) const NUMBERS: [&str; 90] = [
    "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28",
    "29", "30", "31", "32", "33", "34", "35", "36", "37", "38", "39", "40", "41", "42", "43", "44", "45", "46", "47",
    "48", "49", "50", "51", "52", "53", "54", "55", "56", "57", "58", "59", "60", "61", "62", "63", "64", "65", "66",
    "67", "68", "69", "70", "71", "72", "73", "74", "75", "76", "77", "78", "79", "80", "81", "82", "83", "84", "85",
    "86", "87", "88", "89", "90", "91", "92", "93", "94", "95", "96", "97", "98", "99",
];

/// The rest: punctuation, grammar, weather and days.
pub(super) const GRAMMAR: [&str; 66] = [
    ".", "?", ",", "the", "a", "of", "is", "in", "to", "and", "at", "on", "from", "over", "who", "what", "where",
    "treasure", "by", "under", "near", "after", "key", "friend", "trade", "then", "again", "old", "cold", "grey",
    "long", "rain", "snow", "wind", "fog", "falls", "lies", "comes", "goes", "river", "hill", "road", "mill", "bridge",
    "field", "market", "gate", "people", "work", "sing", "wait", "sleep", "morning", "evening", "night", "winter",
    "summer", "walks", "speaks", "rests", "sees", "water", "fire", "bread", "bring", "home",
];

/// All of them, in the order of their token ids.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    let groups: [&'static [&'static str]; 7] = [&GRAMMAR, &NUMBERS, &NAMES, &PLACES, &COLOURS, &OBJECTS, &TRADES];
    groups.into_iter().flatten().copied()
}
