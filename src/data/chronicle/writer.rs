//! Writes sentence after sentence and keeps account of what was said where.

use super::sentence::Sentence;
use super::world::{Fact, KEYLESS, KINDS, World};
use super::{Density, Document, Recall};
use crate::data::{Encoder, Error, Rng};

/// The nearest distance at which something may come back, in tokens.
const NEAREST: usize = 8;

/// Tokens of the shortest rest.
const SHORTEST_REST: usize = 256;

/// Rests are log-uniform over this many octaves, except in distant text.
const REST_OCTAVES: usize = 6;

/// Facts that are said before the first comes back: one that was repeated at once would teach to copy from a fixed offset.
const FEWEST: usize = 2;

const SPOTS: [&str; 8] = ["river", "hill", "road", "mill", "bridge", "field", "market", "gate"];

pub(super) struct Writer<'a> {
    encoder: &'a Encoder,
    density: Density,
    /// Tokens that the document will have.
    length: usize,
    pub(super) rng: Rng,
    pub(super) world: World,
    pub(super) document: Document,
}

impl<'a> Writer<'a> {
    pub(super) fn new(encoder: &'a Encoder, mut rng: Rng, density: Density, length: usize, reserved: usize) -> Self {
        let world = World::new(&mut rng, reserved);
        let tokens = encoder.bos().into_iter().collect();
        let document = Document { tokens, ..Document::default() };
        Self { encoder, density, length, rng, world, document }
    }

    /// Tokens so far.
    pub(super) fn len(&self) -> usize {
        self.document.tokens.len()
    }

    /// One more sentence of the document's own choice.
    pub(super) fn event(&mut self) -> Result<(), Error> {
        let (filler, mentions) = self.density.percent();
        match self.rng.below(100) {
            roll if roll < filler => self.filler(),
            roll if roll < filler + mentions => self.mention(),
            _ if self.introduces() => self.introduce(),
            _ => self.recall(),
        }
    }

    /// Weather and days: local grammar, nothing to remember.
    pub(super) fn filler(&mut self) -> Result<(), Error> {
        let rng = &mut self.rng;
        let start = Sentence::default();
        let sentence = match rng.below(8) {
            0..4 => {
                let which = rng.pick(&["old", "cold", "grey", "long"]);
                let weather =
                    rng.pick(&["rain falls on the", "snow lies on the", "wind comes from the", "fog goes over the"]);
                start.word("the").word(which).say(weather).word(rng.pick(&SPOTS)).word(".")
            }
            4..6 => {
                let when = rng.pick(&["morning", "evening", "winter", "summer"]);
                let does = rng.pick(&["work at the", "sing in the", "wait on the", "sleep at the"]);
                start.say("in the").word(when).say("the people").say(does).word(rng.pick(&SPOTS)).word(".")
            }
            6 => start.say("the people bring").word(rng.pick(&["water", "fire", "bread"])).say("home ."),
            _ => start.say("then the night comes again ."),
        };
        self.write(&sentence).map(drop)
    }

    /// Someone does something that has no weight.
    fn mention(&mut self) -> Result<(), Error> {
        let person = self.rng.below(self.world.public());
        let does = self.rng.pick(&["walks to the", "rests at the", "sees the", "speaks at the"]);
        let spot = self.rng.pick(&SPOTS);
        let sentence = match self.rng.below(4) {
            0 => self.world.name(Sentence::default().say("in the evening ,"), person).say("goes home ."),
            1 => self.world.name(Sentence::default().say("and then"), person).say(does).word(spot).word("."),
            _ => self.world.name(Sentence::default(), person).say(does).word(spot).word("."),
        };
        self.write(&sentence).map(drop)
    }

    /// Facts come often at the beginning, then ever more of the text looks back.
    fn introduces(&mut self) -> bool {
        let percent = match self.len() {
            0..64 => 50,
            64..256 => 40,
            256..1024 => 30,
            _ => 15,
        };
        self.world.facts.len() < FEWEST || self.rng.chance(percent)
    }

    fn introduce(&mut self) -> Result<(), Error> {
        let kinds = if self.density == Density::Keyless { KEYLESS } else { KINDS };
        match self.world.invent(&mut self.rng, kinds) {
            Some(fact) => self.state(fact),
            None => self.recall(),
        }
    }

    /// Says a new fact; one of a reserved person does not come back by itself.
    pub(super) fn state(&mut self, fact: Fact) -> Result<(), Error> {
        self.state_as(fact, &self.world.statement(&fact))
    }

    /// Says a new fact in these words.
    pub(super) fn state_as(&mut self, fact: Fact, sentence: &Sentence) -> Result<(), Error> {
        let starts = self.write(sentence)?;
        let said = starts.start;
        self.world.people[fact.person].known = true;
        self.document.facts.push(starts);
        let rests = if fact.person < self.world.public() { said + self.rest() } else { usize::MAX };
        self.world.facts.push(Fact { said, rests, ..fact });
        Ok(())
    }

    /// Says an old fact again, or asks for it.
    fn recall(&mut self) -> Result<(), Error> {
        let Some(index) = self.remembered() else {
            return self.filler();
        };
        let fact = self.world.facts[index];
        let asked = self.rng.chance(50);
        let sentence = if asked { self.world.question(&fact) } else { self.world.statement(&fact) };
        self.repeat(index, &sentence).map(drop)
    }

    /// Writes a sentence whose answer was said before; returns the answer's tokens.
    pub(super) fn repeat(&mut self, fact: usize, sentence: &Sentence) -> Result<std::ops::Range<usize>, Error> {
        let answer = self.write(sentence)?;
        let rests = answer.start + self.rest();
        let fact = &mut self.world.facts[fact];
        let said = std::mem::replace(&mut fact.said, answer.start);
        fact.rests = rests;
        self.document.recalls.push(Recall { answer: answer.clone(), distance: answer.start - said });
        Ok(answer)
    }

    /// How long a fact stays unsaid. Some rest for thousands of tokens; otherwise too few would be left to come back
    /// from far away, since whatever is said again is near again.
    fn rest(&mut self) -> usize {
        if !self.rng.chance(self.density.resting()) {
            return 0;
        }
        match self.density {
            Density::Distant => SHORTEST_REST + self.rng.below(self.length.max(1)),
            Density::Ledger | Density::Dense | Density::Standard | Density::Keyless => {
                let low = SHORTEST_REST << self.rng.below(REST_OCTAVES);
                low + self.rng.below(low)
            }
        }
    }

    /// By turns any fact that does not rest, and the one whose distance is nearest to one drawn log-uniformly from
    /// [`NEAREST`] to the whole document.
    fn remembered(&mut self) -> Option<usize> {
        let now = self.len();
        let facts = self.world.facts.iter().enumerate();
        let awake: Vec<(usize, usize)> =
            facts.filter(|(_, fact)| fact.rests <= now).map(|(index, fact)| (index, now - fact.said)).collect();
        if awake.is_empty() {
            return None;
        }
        if self.rng.chance(50) {
            return Some(self.rng.pick(&awake).0);
        }
        let octaves = (now / NEAREST).max(1).ilog2() as usize + 1;
        let low = NEAREST << self.rng.below(octaves);
        let wanted = (low + self.rng.below(low)) as f64;
        let ratio = |distance: usize| (distance as f64 / wanted).max(wanted / distance as f64);
        awake.into_iter().min_by(|(_, a), (_, b)| ratio(*a).total_cmp(&ratio(*b))).map(|(index, _)| index)
    }

    /// Appends a sentence and returns the tokens of its answer.
    fn write(&mut self, sentence: &Sentence) -> Result<std::ops::Range<usize>, Error> {
        let starts = self.encoder.write(sentence, &mut self.document.tokens)?;
        Ok(starts[sentence.answer.start]..starts[sentence.answer.end])
    }

    /// An answer without the blank tokens before its first word. Many tokenizers write the space before a number as a token
    /// of its own; a model that would rather begin with a word has not forgotten the number.
    pub(super) fn spoken(&self, answer: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let tokens = &self.document.tokens[answer.clone()];
        let blank = tokens.iter().take_while(|&&token| self.encoder.is_blank(token)).count();
        if blank < tokens.len() { answer.start + blank..answer.end } else { answer }
    }

    /// How many tokens a sentence takes, and how many of them stand before its answer.
    pub(super) fn measure(&self, sentence: &Sentence) -> Result<(usize, usize), Error> {
        let mut tokens = Vec::new();
        let starts = self.encoder.write(sentence, &mut tokens)?;
        Ok((tokens.len(), starts[sentence.answer.start]))
    }
}
