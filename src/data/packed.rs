//! The documents of one source laid end to end: shuffled anew for each epoch, each with the tokenizer's begin and end
//! tokens, cut into sequences. A document that is cut goes on in the next sequence, as a document of its own.
//!
//! The shuffle is bounded: documents that follow each other in the files form blocks, an epoch shuffles the blocks and the
//! documents of each. So the order in memory does not grow with the text, and any place of an epoch is reached without
//! reading what is before it, which a shuffle buffer over a stream could not do.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::batch::{Batch, IGNORE};
use super::chat::UNCOUNTED;
use super::error::Error;
use super::rng::Rng;
use super::select::Selected;

/// Blocks whose order is kept: a sequence may need two.
const ORDERS: usize = 2;

/// Documents of a block; 16 bytes each are in memory for the blocks that are kept.
const BLOCK: usize = if cfg!(test) { 8 } else { 1 << 20 };

/// Keeps the draws of blocks apart from all others.
const BLOCKS: u64 = 0x626c_6f63_6b73;

/// The documents of a store laid end to end, as far as they are selected.
pub(super) struct Packed {
    pub(super) store: Selected,
    bos: Option<u32>,
    eos: Option<u32>,
    /// What an epoch holds, in the order of the files.
    documents: Vec<usize>,
    /// Which of them are shuffled together, and their tokens.
    blocks: Vec<(Range<usize>, u64)>,
    /// Tokens of an epoch.
    pub(super) tokens: u64,
    /// Tokens of the longest document.
    pub(super) longest: u64,
    /// Tokens of the longest piece that is a document of its own; of a replay the model's own window.
    piece: u64,
    replay: bool,
    orders: Mutex<Vec<([u64; 3], Arc<Order>)>>,
}

/// A block in one epoch: which document comes when, and where each ends.
struct Order {
    documents: Vec<usize>,
    ends: Vec<u64>,
}

impl Packed {
    /// Documents of at least `long` tokens come `times` times in an epoch, so that a source's long documents are seen more
    /// often while its share stays (Fu et al., arXiv 2402.10171). A `replay` above 0 makes every piece of so many tokens a
    /// document.
    pub(super) fn new(store: Selected, [bos, eos]: [Option<u32>; 2], [long, times]: [usize; 2], replay: usize) -> Self {
        let extra = u64::from(bos.is_some()) + u64::from(eos.is_some());
        let length = |document| store.length(document) + extra;
        let often = |document: usize| if length(document) >= long as u64 { times } else { 1 };
        let documents: Vec<usize> =
            store.documents().flat_map(|document| std::iter::repeat_n(document, often(document))).collect();
        let sum = |documents: &[usize]| documents.iter().map(|&document| length(document)).sum::<u64>();
        let chunks = (0..documents.len()).step_by(BLOCK).map(|first| first..documents.len().min(first + BLOCK));
        let blocks = chunks.map(|block| (block.clone(), sum(&documents[block]))).collect();
        let tokens = sum(&documents);
        let piece = if replay > 0 { replay as u64 } else { u64::MAX };
        let longest = documents.iter().map(|&document| length(document)).max().unwrap_or(0);
        Self {
            store,
            bos,
            eos,
            documents,
            blocks,
            tokens,
            longest,
            piece,
            replay: replay > 0,
            orders: Mutex::default(),
        }
    }

    /// Documents of an epoch in the order of the files, those that come more often as often.
    pub(super) fn documents(&self) -> impl Iterator<Item = usize> + '_ {
        self.documents.iter().copied()
    }

    /// Tokens of a document with its begin and end tokens.
    pub(super) fn length(&self, document: usize) -> u64 {
        self.store.length(document) + u64::from(self.bos.is_some()) + u64::from(self.eos.is_some())
    }

    /// Tokens of the longest piece that is a document of its own.
    pub(super) fn piece(&self) -> u64 {
        self.piece
    }

    /// Whether its pieces are short text among longer sequences.
    pub(super) fn replays(&self) -> bool {
        self.replay
    }

    /// Sequence `ordinal` of a seed and source, `length` tokens.
    pub(super) fn sequence(&self, [seed, source]: [u64; 2], ordinal: u64, length: usize) -> Result<Batch, Error> {
        let (mut tokens, mut starts) = (Vec::with_capacity(length), Vec::new());
        let mut place = u128::from(ordinal) * length as u128;
        while tokens.len() < length {
            let epoch = (place / u128::from(self.tokens)) as u64;
            let offset = (place % u128::from(self.tokens)) as u64;
            let (block, offset) = self.block([seed, source, epoch], offset);
            let order = self.order([seed, source, epoch], block);
            let before = tokens.len();
            self.pack(&order, offset, length, &mut tokens, &mut starts)?;
            place += (tokens.len() - before) as u128;
        }
        Ok(Batch { replay: self.replay, ..batch(tokens, &starts)? })
    }

    /// Which block an epoch has at a place, and the place in it.
    fn block(&self, key: [u64; 3], offset: u64) -> (usize, u64) {
        let mut turns: Vec<usize> = (0..self.blocks.len()).collect();
        Rng::new(&[&[BLOCKS][..], &key].concat()).shuffle(&mut turns);
        let mut before = 0;
        for &block in &turns {
            let end = before + self.blocks[block].1;
            if offset < end {
                return (block, offset - before);
            }
            before = end;
        }
        (turns.last().copied().unwrap_or(0), 0)
    }

    /// Appends the block from `offset` on until it ends or the sequence is full.
    fn pack(
        &self,
        order: &Order,
        offset: u64,
        length: usize,
        tokens: &mut Vec<u32>,
        starts: &mut Vec<usize>,
    ) -> Result<(), Error> {
        let mut offset = offset;
        let first = order.ends.partition_point(|&end| end <= offset);
        for turn in first..order.documents.len() {
            if tokens.len() == length {
                break;
            }
            let begin = turn.checked_sub(1).map_or(0, |before| order.ends[before]);
            while offset < order.ends[turn] && tokens.len() < length {
                let whole = (order.ends[turn] - offset).min(self.piece - (offset - begin) % self.piece);
                let count = (length - tokens.len()).min(usize::try_from(whole).unwrap_or(usize::MAX));
                starts.push(tokens.len());
                self.read(order.documents[turn], offset - begin, count, tokens)?;
                offset += count as u64;
            }
        }
        Ok(())
    }

    /// Appends tokens `from..from + count` of a document with its specials.
    fn read(&self, document: usize, from: u64, count: usize, tokens: &mut Vec<u32>) -> Result<(), Error> {
        let full = tokens.len() + count;
        let before = u64::from(self.bos.is_some());
        tokens.extend(self.bos.filter(|_| from == 0));
        let inside = from.saturating_sub(before);
        let left = self.store.length(document) - inside.min(self.store.length(document));
        let taken = (full - tokens.len()).min(left as usize);
        self.store.read(document, inside, taken, tokens)?;
        tokens.extend(self.eos.filter(|_| tokens.len() < full));
        Ok(())
    }

    fn order(&self, [seed, source, epoch]: [u64; 3], block: usize) -> Arc<Order> {
        let key = [seed, source | (block as u64) << 32, epoch];
        let mut kept = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = kept.iter().find(|(of, _)| *of == key) {
            return order.clone();
        }
        let order = Arc::new(self.shuffled(key, block));
        kept.push((key, order.clone()));
        if kept.len() > ORDERS {
            kept.remove(0);
        }
        order
    }

    fn shuffled(&self, key: [u64; 3], block: usize) -> Order {
        let mut documents =
            self.blocks.get(block).map_or(&[][..], |(range, _)| &self.documents[range.clone()]).to_vec();
        Rng::new(&key).shuffle(&mut documents);
        let extra = u64::from(self.bos.is_some()) + u64::from(self.eos.is_some());
        let mut end = 0;
        let ends = documents.iter().map(|&document| {
            end += self.store.length(document) + extra;
            end
        });
        Order { ends: ends.collect(), documents }
    }
}

/// A sequence whose tokens may carry [`UNCOUNTED`]: no row learns to predict such a token.
fn batch(mut tokens: Vec<u32>, starts: &[usize]) -> Result<Batch, Error> {
    let skipped: Vec<usize> = (1..tokens.len()).filter(|&row| tokens[row] & UNCOUNTED != 0).collect();
    tokens.iter_mut().for_each(|token| *token &= !UNCOUNTED);
    let mut batch = Batch::sequence(tokens, starts)?;
    skipped.into_iter().for_each(|row| batch.targets[row - 1] = IGNORE);
    Ok(batch)
}
