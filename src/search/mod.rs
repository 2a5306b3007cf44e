//! LongRoPE's search for a factor per pair (Ding et al. 2024, arXiv 2402.13753, section 3.2): evolution over lists of
//! factors that never fall from pair to pair, judged by the loss of a model that is not trained.
//!
//! Tokens at the beginning that keep their own positions (n̂ in the paper) are not searched: no format for models has a
//! place for them.

use std::collections::BTreeMap;

use recipe_core::{RopePlan, Scaling};

use crate::data::Rng;

/// Size and course of a search; the paper's numbers by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Lists that live at a time.
    pub population: usize,
    /// Rounds.
    pub iterations: usize,
    /// The best of a round, which live on and have offspring.
    pub parents: usize,
    /// Probability that a mutation draws a factor anew.
    pub mutation: f64,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { population: 64, iterations: 40, parents: 32, mutation: 0.3, seed: 0 }
    }
}

/// Factors and the loss that they leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// head_dim ÷ 2 of them.
    pub factors: Vec<f64>,
    /// What was minimised.
    pub loss: f64,
}

/// Factors that are tried between 1 and 2.
const STEPS: f64 = 100.0;
/// The largest factor, in target ÷ native.
const MARGIN: f64 = 1.25;

/// What Position Interpolation, NTK and YaRN divide each of the model's frequencies by: where a search begins.
pub fn seeds(native: &RopePlan, scale: f64, original: usize) -> [(&'static str, Vec<f64>); 3] {
    let plain = native.inv_freq(original);
    let factors = |rope: &RopePlan| {
        plain.iter().zip(rope.inv_freq(original)).map(|(own, theirs)| own / theirs).collect::<Vec<f64>>()
    };
    let yarn = Scaling::Yarn {
        factor: scale,
        original,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 1.0,
        truncate: true,
    };
    let pairs = (plain.len().max(2) - 1) as f64;
    let ntk = (0..plain.len()).map(|pair| scale.powf(pair as f64 / pairs)).collect();
    [
        ("interpolate", vec![scale; plain.len()]),
        ("ntk", ntk),
        ("yarn", factors(&RopePlan { scaling: yarn, ..native.clone() })),
    ]
}

/// Searches from `seeds` for the factors of least `loss`. `watch` sees the best after every round, the first included.
///
/// # Errors
/// The first error of `loss`.
pub fn search<E>(
    seeds: &[Vec<f64>],
    scale: f64,
    options: &Options,
    loss: &mut dyn FnMut(&[f64]) -> Result<f64, E>,
    watch: &mut dyn FnMut(usize, &Candidate),
) -> Result<Candidate, E> {
    let mut judge = Judge { loss, known: BTreeMap::new() };
    let mut draw = Draw { rng: Rng::new(&[SEARCH, options.seed]), most: MARGIN * scale };
    let mut population = vec![];
    for seed in seeds {
        population.push(judge.of(seed.clone())?);
    }
    while population.len() < options.population {
        let parent = &seeds[population.len() % seeds.len()];
        population.push(judge.of(draw.mutated(parent, options.mutation))?);
    }
    for round in 0..=options.iterations {
        population.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        watch(round, &population[0]);
        if round == options.iterations {
            break;
        }
        population.truncate(options.parents.max(1));
        let parents = population.clone();
        while population.len() < options.population {
            let mother = &parents[draw.rng.below(parents.len())].factors;
            let child = if population.len() % 2 == 0 {
                draw.mutated(mother, options.mutation)
            } else {
                let father = draw.rng.below(parents.len());
                draw.crossed(mother, &parents[father].factors)
            };
            population.push(judge.of(child)?);
        }
    }
    Ok(population.swap_remove(0))
}

/// Keeps these draws apart from all others of the same seed.
const SEARCH: u64 = 0x7365_6172_6368;

/// The loss of lists, each computed once.
struct Judge<'a, E> {
    loss: &'a mut dyn FnMut(&[f64]) -> Result<f64, E>,
    known: BTreeMap<Vec<u64>, f64>,
}

impl<E> Judge<'_, E> {
    fn of(&mut self, factors: Vec<f64>) -> Result<Candidate, E> {
        let key: Vec<u64> = factors.iter().map(|factor| factor.to_bits()).collect();
        let loss = match self.known.get(&key) {
            Some(loss) => *loss,
            None => (self.loss)(&factors)?,
        };
        self.known.insert(key, loss);
        Ok(Candidate { factors, loss })
    }
}

/// New lists out of old ones.
struct Draw {
    rng: Rng,
    /// The largest factor.
    most: f64,
}

impl Draw {
    /// Some factors anew, each between its neighbours.
    fn mutated(&mut self, from: &[f64], probability: f64) -> Vec<f64> {
        let mut factors = from.to_vec();
        for pair in 0..factors.len() {
            if self.unit() < probability {
                let least = if pair == 0 { 1.0 } else { factors[pair - 1] };
                let most = factors.get(pair + 1).copied().unwrap_or(self.most).max(least);
                factors[pair] = self.between(least, most);
            }
        }
        factors
    }

    /// Each factor from one of two lists; the larger of it and the one before.
    fn crossed(&mut self, mother: &[f64], father: &[f64]) -> Vec<f64> {
        let mut before = 1.0_f64;
        let pairs = mother.iter().zip(father);
        pairs
            .map(|(mother, father)| {
                before = before.max(if self.rng.below(2) == 0 { *mother } else { *father });
                before
            })
            .collect()
    }

    /// A hundredth from `least` to `most`.
    fn between(&mut self, least: f64, most: f64) -> f64 {
        let [from, to] = [least, most].map(|factor| factor * STEPS);
        let drawn = from.ceil() + self.rng.below((to - from).max(0.0) as usize + 1) as f64;
        (drawn / STEPS).clamp(least, most.min(self.most).max(least))
    }

    fn unit(&mut self) -> f64 {
        (self.rng.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native() -> RopePlan {
        RopePlan { theta: 1e4, scaling: Scaling::Default, head_dim: 32 }
    }

    fn lists() -> Vec<Vec<f64>> {
        seeds(&native(), 8.0, 256).map(|(_, factors)| factors).to_vec()
    }

    /// Distance to factors that grow along a line, which none of the seeds does.
    fn distance(factors: &[f64]) -> Result<f64, ()> {
        Ok(factors.iter().enumerate().map(|(pair, f)| (f - (1.0 + pair as f64 / 3.0)).powi(2)).sum())
    }

    #[test]
    fn a_search_finds_what_no_seed_has() {
        let mut rounds = vec![];
        let mut watch = |round: usize, best: &Candidate| rounds.push((round, best.loss));
        let found = search(&lists(), 8.0, &Options::default(), &mut distance, &mut watch).unwrap();
        let best_seed = lists().iter().map(|factors| distance(factors).unwrap()).fold(f64::MAX, f64::min);
        assert!(found.loss < best_seed / 10.0, "{} from {best_seed}", found.loss);
        assert!(rounds.windows(2).all(|pair| pair[1].1 <= pair[0].1), "{rounds:?}");
        assert_eq!(rounds.len(), 41);
    }

    #[test]
    fn factors_never_fall_and_stay_in_their_range() {
        let mut seen = 0;
        let mut loss = |factors: &[f64]| {
            seen += 1;
            assert!(factors.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12), "{factors:?}");
            assert!(factors[0] >= 1.0 && factors[15] <= 10.0, "{factors:?}");
            distance(factors)
        };
        let options = Options { iterations: 10, ..Options::default() };
        let found = search(&lists(), 8.0, &options, &mut loss, &mut |_, _| ()).unwrap();
        let again = search(&lists(), 8.0, &options, &mut distance, &mut |_, _| ()).unwrap();
        assert_eq!(found, again);
        let other = Options { seed: 1, ..options };
        assert_ne!(found, search(&lists(), 8.0, &other, &mut distance, &mut |_, _| ()).unwrap());
        assert!(seen > 64 + 5 * 32, "{seen}");
    }

    #[test]
    fn seeds_are_the_known_laws() {
        let [(_, pi), (_, ntk), (_, yarn)] = seeds(&native(), 8.0, 256);
        assert_eq!(pi, [8.0; 16]);
        assert_eq!(ntk[0], 1.0);
        assert!((ntk[15] - 8.0).abs() < 1e-9);
        assert!((yarn[0] - 1.0).abs() < 1e-9 && (yarn[15] - 8.0).abs() < 1e-9);
    }

    #[test]
    fn an_error_ends_the_search() {
        let found = search(&lists(), 8.0, &Options::default(), &mut |_| Err("no"), &mut |_, _| ());
        assert_eq!(found.unwrap_err(), "no");
    }
}
