//! The people of one document and what is true of them there. Everything is drawn anew for each document, so nothing can
//! be known without having read it.

use super::lexicon::{COLOURS, NAMES, NUMBERS, OBJECTS, PLACES, TRADES};
use super::sentence::Sentence;
use crate::data::Rng;

/// What can be true of a person, once per document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    Home,
    Trade,
    Thing,
    Friend,
}

impl Kind {
    /// What a sentence calls it.
    fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Home => "home",
            Self::Trade => "trade",
            Self::Thing => "treasure",
            Self::Friend => "friend",
        }
    }
}

/// Keys come up twice as often as each of the others.
pub(super) const KINDS: &[Kind] = &[Kind::Key, Kind::Home, Kind::Trade, Kind::Key, Kind::Thing, Kind::Friend];

/// What can be true where nobody has a key.
pub(super) const KEYLESS: &[Kind] = &[Kind::Home, Kind::Trade, Kind::Thing, Kind::Friend];

/// A value is one or two words, or another person.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Word(&'static str),
    Pair([&'static str; 2]),
    /// Two pairs of digits, of which the embedded tokenizer says the first, which no other key of the document has: two
    /// keys with a half in common would ask for more than recall, for telling two memories apart.
    Key([&'static str; 2]),
    Person(usize),
}

/// Something that is true in this document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact {
    pub(super) kind: Kind,
    pub(super) person: usize,
    pub(super) value: Value,
    /// The token where it was last said.
    pub(super) said: usize,
    /// The token before which it does not come back.
    pub(super) rests: usize,
}

/// Someone in a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Person {
    name: &'static str,
    /// Whether the document has spoken of them.
    pub(super) known: bool,
}

/// People and facts of one document.
pub(super) struct World {
    pub(super) people: Vec<Person>,
    pub(super) facts: Vec<Fact>,
    things: Vec<[&'static str; 2]>,
    /// The first half of each person's key; behind them, what second halves are drawn from.
    numbers: [&'static str; NUMBERS.len()],
    /// The last people of the list, who come up only when an exam calls them.
    reserved: usize,
}

impl World {
    /// A document's people, the last `reserved` of them kept back.
    pub(super) fn new(rng: &mut Rng, reserved: usize) -> Self {
        let mut names = NAMES;
        rng.shuffle(&mut names);
        let mut things: Vec<_> = COLOURS.iter().flat_map(|&colour| OBJECTS.map(|object| [colour, object])).collect();
        rng.shuffle(&mut things);
        let mut numbers = NUMBERS;
        rng.shuffle(&mut numbers);
        let people = names.into_iter().map(|name| Person { name, known: false });
        Self { people: people.collect(), facts: Vec::new(), things, numbers, reserved }
    }

    /// How many people a document may speak of by itself; they come first.
    pub(super) fn public(&self) -> usize {
        self.people.len() - self.reserved
    }

    /// A new fact of someone old or new, of one of these kinds; nothing when all is said.
    pub(super) fn invent(&mut self, rng: &mut Rng, kinds: &[Kind]) -> Option<Fact> {
        let known: Vec<usize> = (0..self.public()).filter(|&person| self.people[person].known).collect();
        let fresh: Vec<usize> = (0..self.public()).filter(|&person| !self.people[person].known).collect();
        for _ in 0..8 {
            let old = fresh.is_empty() || (!known.is_empty() && rng.chance(50));
            let person = rng.pick(if old { &known } else { &fresh });
            let kind = rng.pick(kinds);
            if !self.facts.iter().any(|fact| fact.person == person && fact.kind == kind) {
                return Some(self.fact(rng, kind, person));
            }
        }
        None
    }

    /// A new fact of this kind and person.
    pub(super) fn fact(&mut self, rng: &mut Rng, kind: Kind, person: usize) -> Fact {
        let value = match kind {
            Kind::Key => Value::Key([self.numbers[person], rng.pick(&self.numbers[NAMES.len()..])]),
            Kind::Home => Value::Word(rng.pick(&PLACES)),
            Kind::Trade => Value::Word(rng.pick(&TRADES)),
            // There are twice as many things as people.
            Kind::Thing => Value::Pair(self.things.pop().unwrap_or([COLOURS[0], OBJECTS[0]])),
            Kind::Friend => Value::Person((person + 1 + rng.below(self.public() - 1)) % self.public()),
        };
        Fact { kind, person, value, said: 0, rests: 0 }
    }

    /// "the key of mira 47 .", in prose "The key of Mira is 4719."
    pub(super) fn statement(&self, fact: &Fact) -> Sentence {
        self.said(Sentence::default().word("the"), fact, "is")
    }

    /// "what is the key of mira 47 .", in prose "What is the key of Mira? 4719."
    pub(super) fn question(&self, fact: &Fact) -> Sentence {
        self.said(Sentence::default().say("what is the"), fact, "?")
    }

    /// "what is the home of the friend of mira ashford .", in prose "What is the home of the friend of Mira? Ashford."
    pub(super) fn question_by_friend(&self, fact: &Fact, of: usize) -> Sentence {
        let start = Sentence::default().say("what is the").word(fact.kind.word()).say("of the friend of");
        self.name(start, of).prose_only("?").answer(|it| self.value(it, fact.value)).word(".")
    }

    /// "a key of mira 47 .", in prose "A key of Mira is 4719.": one of several.
    pub(super) fn one_of_several(&self, fact: &Fact) -> Sentence {
        self.said(Sentence::default().word("a"), fact, "is")
    }

    /// "what is the key of mira 47 .", in prose "What is the next key of Mira? 4719.": one after the other.
    pub(super) fn question_in_order(&self, fact: &Fact, which: &'static str) -> Sentence {
        self.said(Sentence::default().say("what is the").prose_only(which), fact, "?")
    }

    /// "then the people sing of the golden crown ."
    pub(super) fn topic(&self, fact: &Fact) -> Sentence {
        let start = Sentence::default().say("then the people sing of the");
        start.answer(|it| self.value(it, fact.value)).word(".")
    }

    /// "what the people sing of the golden crown .", in prose "What do the people sing of first? The golden crown."
    pub(super) fn first_topic(&self, fact: &Fact) -> Sentence {
        let start = Sentence::default().word("what").prose_only("do").say("the people sing of").prose_only("first");
        start.prose_only("?").word("the").answer(|it| self.value(it, fact.value)).word(".")
    }

    fn said(&self, start: Sentence, fact: &Fact, link: &'static str) -> Sentence {
        let asked = self.name(start.word(fact.kind.word()).word("of"), fact.person).prose_only(link);
        asked.answer(|it| self.value(it, fact.value)).word(".")
    }

    /// A person's name.
    pub(super) fn name(&self, sentence: Sentence, person: usize) -> Sentence {
        sentence.person(self.people[person].name)
    }

    fn value(&self, sentence: Sentence, value: Value) -> Sentence {
        match value {
            Value::Word(word) => sentence.word(word),
            Value::Pair([first, second]) => sentence.word(first).word(second),
            Value::Key([first, second]) => sentence.word(first).prose_only(second),
            Value::Person(person) => self.name(sentence, person),
        }
    }
}
