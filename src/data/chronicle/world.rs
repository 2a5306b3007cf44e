//! The people of one document and what is true of them there. Everything is drawn anew for each document, so nothing can
//! be known without having read it.

use super::lexicon::{COLOURS, NAMES, NUMBERS, OBJECTS, PLACES, SURNAMES, TRADES};
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

/// Keys come up twice as often as each of the others.
const KINDS: [Kind; 6] = [Kind::Key, Kind::Home, Kind::Trade, Kind::Key, Kind::Thing, Kind::Friend];

/// A value is one or two words, or another person.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Word(&'static str),
    Pair([&'static str; 2]),
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

/// Who bears which surname.
#[derive(Clone, Copy, Debug)]
pub(super) struct Person {
    names: [&'static str; 2],
    /// The token where the surname was last said.
    pub(super) said: Option<usize>,
}

/// People and facts of one document.
pub(super) struct World {
    pub(super) people: Vec<Person>,
    pub(super) facts: Vec<Fact>,
    things: Vec<[&'static str; 2]>,
    /// The last people of the list, who come up only when an exam calls them.
    reserved: usize,
}

impl World {
    /// A document's people, the last `reserved` of them kept back.
    pub(super) fn new(rng: &mut Rng, reserved: usize) -> Self {
        let mut names = NAMES;
        rng.shuffle(&mut names);
        let mut surnames: Vec<_> = (0..NAMES.len()).map(|index| SURNAMES[index % SURNAMES.len()]).collect();
        rng.shuffle(&mut surnames);
        let mut things: Vec<_> =
            COLOURS.iter().flat_map(|&colour| OBJECTS.map(|object| [colour, object])).collect();
        rng.shuffle(&mut things);
        let people = names.into_iter().zip(surnames).map(|(name, surname)| Person { names: [name, surname], said: None });
        Self { people: people.collect(), facts: Vec::new(), things, reserved }
    }

    /// People that a document may bring in by itself.
    fn public(&self) -> usize {
        self.people.len() - self.reserved
    }

    /// A new fact of someone old or new; nothing when all is said.
    pub(super) fn invent(&mut self, rng: &mut Rng) -> Option<Fact> {
        let known: Vec<usize> = (0..self.public()).filter(|&person| self.people[person].said.is_some()).collect();
        let fresh: Vec<usize> = (0..self.public()).filter(|&person| self.people[person].said.is_none()).collect();
        for _ in 0..8 {
            let old = fresh.is_empty() || (!known.is_empty() && rng.chance(50));
            let person = rng.pick(if old { &known } else { &fresh });
            let kind = rng.pick(&KINDS);
            if !self.facts.iter().any(|fact| fact.person == person && fact.kind == kind) {
                return Some(self.fact(rng, kind, person));
            }
        }
        None
    }

    /// A new fact of this kind and person.
    pub(super) fn fact(&mut self, rng: &mut Rng, kind: Kind, person: usize) -> Fact {
        let value = match kind {
            Kind::Key => Value::Pair([rng.pick(&NUMBERS), rng.pick(&NUMBERS)]),
            Kind::Home => Value::Word(rng.pick(&PLACES)),
            Kind::Trade => Value::Word(rng.pick(&TRADES)),
            // There are twice as many things as people.
            Kind::Thing => Value::Pair(self.things.pop().unwrap_or([COLOURS[0], OBJECTS[0]])),
            Kind::Friend => Value::Person((person + 1 + rng.below(self.public() - 1)) % self.public()),
        };
        Fact { kind, person, value, said: 0, rests: 0 }
    }

    /// "the key of mira vale is 47 19 ."
    pub(super) fn statement(&self, fact: &Fact) -> Sentence {
        let start = Sentence::default();
        let said = match fact.kind {
            Kind::Key => self.name(start.say("the key of"), fact.person).word("is"),
            Kind::Home => self.name(start, fact.person).say("lives in"),
            Kind::Trade => self.name(start, fact.person).say("is a"),
            Kind::Thing => self.name(start, fact.person).say("holds the"),
            Kind::Friend => self.name(start.say("the friend of"), fact.person).word("is"),
        };
        said.answer(|it| self.value(it, fact.value)).word(".")
    }

    /// "what is the key of mira vale ? 47 19 ."
    pub(super) fn question(&self, fact: &Fact) -> Sentence {
        let start = Sentence::default();
        let asked = match fact.kind {
            Kind::Key => self.name(start.say("what is the key of"), fact.person).word("?"),
            Kind::Home => self.name(start.say("where does"), fact.person).say("live ?"),
            Kind::Trade => self.name(start.say("what is the trade of"), fact.person).word("?"),
            Kind::Thing => self.name(start.say("what does"), fact.person).say("hold ? the"),
            Kind::Friend => self.name(start.say("who is the friend of"), fact.person).word("?"),
        };
        asked.answer(|it| self.value(it, fact.value)).word(".")
    }

    /// "who holds the silver bell ? mira vale .", for things only.
    pub(super) fn holder(&self, fact: &Fact) -> Sentence {
        let asked = self.value(Sentence::default().say("who holds the"), fact.value).word("?");
        asked.answer(|it| self.name(it, fact.person)).word(".")
    }

    /// A person's two names.
    pub(super) fn name(&self, sentence: Sentence, person: usize) -> Sentence {
        sentence.person(self.people[person].names, person)
    }

    fn value(&self, sentence: Sentence, value: Value) -> Sentence {
        match value {
            Value::Word(word) => sentence.word(word),
            Value::Pair([first, second]) => sentence.word(first).word(second),
            Value::Person(person) => self.name(sentence, person),
        }
    }
}
