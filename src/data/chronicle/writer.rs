//! Writes sentence after sentence and keeps account of what was said where.

use super::sentence::Sentence;
use super::world::{Fact, Kind, World};
use super::{Density, Document, Recall};
use crate::data::{Encoder, Error, Rng};

/// The nearest distance at which something may come back, in tokens.
const NEAREST: usize = 8;

/// Percent of facts that rest after they were said.
const RESTING: usize = 15;

/// Tokens of the shortest rest.
const SHORTEST_REST: usize = 256;

/// Rests are log-uniform over this many octaves.
const REST_OCTAVES: usize = 6;

const SPOTS: [&str; 8] = ["river", "hill", "road", "mill", "bridge", "field", "market", "gate"];

pub(super) struct Writer<'a> {
    encoder: &'a Encoder,
    density: Density,
    pub(super) rng: Rng,
    pub(super) world: World,
    pub(super) document: Document,
}

impl<'a> Writer<'a> {
    pub(super) fn new(encoder: &'a Encoder, mut rng: Rng, density: Density, reserved: usize) -> Self {
        let world = World::new(&mut rng, reserved);
        let tokens = encoder.bos().into_iter().collect();
        let document = Document { tokens, ..Document::default() };
        Self { encoder, density, rng, world, document }
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
                let weather = rng.pick(&["rain falls on the", "snow lies on the", "wind comes from the", "fog goes over the"]);
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

    /// Someone known does something; the surname has to be remembered.
    fn mention(&mut self) -> Result<(), Error> {
        let Some(person) = self.remembered(|writer| writer.world.people.iter().map(|person| person.said).collect()) else {
            return self.introduce();
        };
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
        self.world.facts.is_empty() || self.rng.chance(percent)
    }

    fn introduce(&mut self) -> Result<(), Error> {
        match self.world.invent(&mut self.rng) {
            Some(fact) => self.state(fact),
            None => self.recall(),
        }
    }

    /// Says a new fact.
    pub(super) fn state(&mut self, fact: Fact) -> Result<(), Error> {
        let starts = self.write(&self.world.statement(&fact))?;
        let said = starts.start;
        self.document.facts.push(starts);
        let rests = said + self.rest();
        self.world.facts.push(Fact { said, rests, ..fact });
        Ok(())
    }

    /// Says an old fact again, or asks for it.
    fn recall(&mut self) -> Result<(), Error> {
        let Some(index) = self.remembered(|writer| {
            let now = writer.len();
            writer.world.facts.iter().map(|fact| (fact.rests <= now).then_some(fact.said)).collect()
        }) else {
            return self.filler();
        };
        let fact = self.world.facts[index];
        let sentence = match self.rng.below(4) {
            0 | 1 => self.world.question(&fact),
            2 if fact.kind == Kind::Thing => self.world.holder(&fact),
            _ => self.world.statement(&fact),
        };
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
        if !self.rng.chance(RESTING) {
            return 0;
        }
        let low = SHORTEST_REST << self.rng.below(REST_OCTAVES);
        low + self.rng.below(low)
    }

    /// Draws a distance, log-uniform from [`NEAREST`] to the whole document, and takes what was last said nearest to it.
    fn remembered(&mut self, said: impl FnOnce(&Self) -> Vec<Option<usize>>) -> Option<usize> {
        let now = self.len();
        let octaves = (now / NEAREST).max(1).ilog2() as usize + 1;
        let low = NEAREST << self.rng.below(octaves);
        let wanted = (low + self.rng.below(low)) as f64;
        let ratio = |said: usize| {
            let distance = (now - said) as f64;
            (distance / wanted).max(wanted / distance)
        };
        let known = said(self).into_iter().enumerate();
        let ratios = known.filter_map(|(index, said)| Some((index, ratio(said?))));
        ratios.min_by(|(_, left), (_, right)| left.total_cmp(right)).map(|(index, _)| index)
    }

    /// Appends a sentence, notes the surnames in it, and returns the tokens of its answer.
    fn write(&mut self, sentence: &Sentence) -> Result<std::ops::Range<usize>, Error> {
        let starts = self.encoder.write(sentence, &mut self.document.tokens)?;
        let answer = starts[sentence.answer.start]..starts[sentence.answer.end];
        for &(word, person) in &sentence.surnames {
            let surname = starts[word]..starts[word + 1];
            let before = self.world.people[person].said.replace(surname.start);
            if let Some(before) = before.filter(|_| !answer.contains(&surname.start)) {
                self.document.mentions.push(Recall { distance: surname.start - before, answer: surname });
            }
        }
        Ok(answer)
    }

    /// How many tokens a sentence takes.
    pub(super) fn measure(&self, sentence: &Sentence) -> Result<usize, Error> {
        let mut tokens = Vec::new();
        self.encoder.write(sentence, &mut tokens)?;
        Ok(tokens.len())
    }
}
