//! What is anchored, in memory: some 50 bytes for each card.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
};

use cardhost_wire::control::CardId;

use super::{
    Anchored, Mark,
    file::{Contents, remember_exported},
    format::{CardEntry, MAX_CARDS},
};

/// Cards with their last known states, and which of them the file does not have yet.
pub(super) struct Ledger {
    cards: BTreeMap<CardId, Anchored>,
    /// One entry for a card however often it changed: that bounds it.
    changed: BTreeSet<CardId>,
    exported: VecDeque<Mark>,
    mark: Mark,
}

/// What the writer has to know of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nudge {
    /// Nothing new.
    None,
    /// The first change since the last batch.
    First,
    /// A record's worth of changes.
    Full,
}

impl Ledger {
    /// What the file says.
    pub(super) fn new(contents: Contents, mark: Mark) -> Self {
        let Contents { cards, exported } = contents;
        Self { cards, changed: BTreeSet::new(), exported, mark }
    }

    pub(super) fn anchored(&self, card: &CardId) -> Option<Anchored> {
        self.cards.get(card).copied()
    }

    /// The last durable batch.
    pub(super) const fn mark(&self) -> Mark {
        self.mark
    }

    /// A card's new state.
    pub(super) fn note(&mut self, card: CardId, anchored: Anchored) -> Nudge {
        self.cards.insert(card, anchored);
        match (self.changed.insert(card), self.changed.len()) {
            (true, 1) => Nudge::First,
            (true, MAX_CARDS) => Nudge::Full,
            _ => Nudge::None,
        }
    }

    /// Takes at most a record's worth of changes.
    pub(super) fn take_changes(&mut self) -> Vec<CardEntry> {
        let taken = std::iter::from_fn(|| self.changed.pop_first()).take(MAX_CARDS);
        taken.map(|card| (card, self.cards[&card])).collect()
    }

    /// They could not be written.
    pub(super) fn put_back(&mut self, changes: &[CardEntry]) {
        self.changed.extend(changes.iter().map(|(card, _)| *card));
    }

    /// They are durable.
    pub(super) fn written(&mut self, mark: Mark) {
        self.mark = mark;
    }

    /// The present head was given out. False if it was before.
    pub(super) fn export(&mut self) -> bool {
        let new = self.exported.back() != Some(&self.mark);
        if new {
            remember_exported(&mut self.exported, self.mark);
        }
        new
    }

    pub(super) fn exported(&self) -> VecDeque<Mark> {
        self.exported.clone()
    }

    /// How many cards and exported heads there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.cards.len(), self.exported.len())
    }

    /// At most a record's worth of cards after this one, from the first if none.
    pub(super) fn after(&self, last: Option<CardId>) -> Vec<CardEntry> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let cards = self.cards.range((from, Bound::Unbounded)).take(MAX_CARDS);
        cards.map(|(card, anchored)| (*card, *anchored)).collect()
    }

    /// The cards that are not destroyed and not among these, which are in order.
    pub(super) fn alive_and_not_in(&self, present: &[CardId]) -> Vec<CardId> {
        let alive = self.cards.iter().filter(|(_, anchored)| **anchored != Anchored::Destroyed);
        alive.map(|(card, _)| *card).filter(|card| present.binary_search(card).is_err()).collect()
    }
}
