//! Which guest images may have a card's key. It is policy, not attestation: the launcher enforces it, and whoever can
//! run another launcher with the host's keys is not bound by it.
//!
//! ```text
//!                      allow(B)                settle(B)
//! allowed [A], left [] ───────▶ allowed [A, B] ─────────▶ allowed [B], left [A]
//!          └───────────────── settle(B) ──────────────────────▲
//! ```
//!
//! A policy stands in the wrapped key, authenticated and not encrypted: the daemon reads it to tell where a card
//! stands, the launcher believes it only once the key has opened.

use alloc::{vec, vec::Vec};

use crate::wrapping::PREFIX;

/// SHA-256 of a guest image.
pub type Measurement = [u8; 32];

/// Most images that may have the key at a time.
const MAX_ALLOWED: usize = 4;
/// Most images that are remembered as left behind.
const MAX_LEFT: usize = 4;

/// A card's image policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePolicy {
    /// The policy's name for the card's whole life, in the associated data of its sealed state: the image that the
    /// card was made with.
    pub id: Measurement,
    /// The images that may have the key; the first is the one that the state was last written by.
    allowed: Vec<Measurement>,
    /// Images that the card was moved away from, the latest last.
    left: Vec<Measurement>,
}

/// Where an image stands with a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageStanding {
    /// It wrote the card's state last.
    Settled,
    /// It may have the key, and has written nothing since another image did.
    Allowed,
    /// It may not have the key unless it is adopted.
    NotAdopted,
    /// The card was moved away from it: it may never have the key again.
    LeftBehind,
}

/// The card was moved away from this image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftBehind;

impl ImagePolicy {
    /// The policy of a card made with this image.
    pub fn of_new_card(image: Measurement) -> Self {
        Self { id: image, allowed: vec![image], left: Vec::new() }
    }

    /// What a wrapped key says of its card's policy, unproven. For format 1, which says nothing, it is the policy of a
    /// card made with `image`. `None` if the format is unknown.
    pub fn alleged(wrapped: &[u8], image: Measurement) -> Option<Self> {
        match wrapped {
            [1, ..] => Some(Self::of_new_card(image)),
            [2, ..] => Self::decode(wrapped.get(PREFIX..)?).map(|(policy, _)| policy),
            _ => None,
        }
    }

    /// Where this image stands.
    pub fn standing(&self, image: &Measurement) -> ImageStanding {
        match image {
            image if self.left.contains(image) => ImageStanding::LeftBehind,
            image if self.allowed.first() == Some(image) => ImageStanding::Settled,
            image if self.allowed.contains(image) => ImageStanding::Allowed,
            _ => ImageStanding::NotAdopted,
        }
    }

    /// Lets this image have the key, beside those that may already. Of too many the one goes that was allowed longest
    /// ago and has not written.
    ///
    /// # Errors
    /// [`LeftBehind`]; nothing has changed.
    pub fn allow(&mut self, image: Measurement) -> Result<(), LeftBehind> {
        match self.standing(&image) {
            ImageStanding::LeftBehind => return Err(LeftBehind),
            ImageStanding::Settled | ImageStanding::Allowed => return Ok(()),
            ImageStanding::NotAdopted if self.allowed.len() == MAX_ALLOWED => drop(self.allowed.remove(1)),
            ImageStanding::NotAdopted => {}
        }
        self.allowed.push(image);
        Ok(())
    }

    /// This image writes the state: the one that wrote it before is left behind, and no other may have the key. Of too
    /// many that were left behind the earliest is forgotten.
    ///
    /// # Errors
    /// [`LeftBehind`]; nothing has changed.
    pub fn settle(&mut self, image: Measurement) -> Result<(), LeftBehind> {
        match self.standing(&image) {
            ImageStanding::LeftBehind => return Err(LeftBehind),
            ImageStanding::Settled => return Ok(()),
            ImageStanding::Allowed | ImageStanding::NotAdopted => {}
        }
        if self.left.len() == MAX_LEFT {
            self.left.remove(0);
        }
        self.left.extend(self.allowed.first().copied());
        self.allowed = vec![image];
        Ok(())
    }

    /// Appends the policy: its name, the numbers of allowed and left images, then these.
    pub fn encode(&self, to: &mut Vec<u8>) {
        to.extend(self.id);
        to.extend([self.allowed.len() as u8, self.left.len() as u8]);
        to.extend(self.allowed.iter().chain(&self.left).flatten());
    }

    /// Takes a policy off the front. `None` if there is none.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (&[allowed, left], rest) = rest.split_first_chunk()?;
        let (allowed, left) = (usize::from(allowed), usize::from(left));
        if !(1..=MAX_ALLOWED).contains(&allowed) || left > MAX_LEFT {
            return None;
        }
        let (images, rest) = rest.split_at_checked((allowed + left) * size_of::<Measurement>())?;
        let (images, []) = images.as_chunks() else { return None };
        let (allowed, left) = images.split_at(allowed);
        Some((Self { id: *id, allowed: allowed.into(), left: left.into() }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wrapping::{Bucket, WrappingKey};

    const A: Measurement = image(0xA);
    const B: Measurement = image(0xB);

    const fn image(number: u8) -> Measurement {
        [number; 32]
    }

    fn standings<const N: usize>(policy: &ImagePolicy, images: [Measurement; N]) -> [ImageStanding; N] {
        images.map(|image| policy.standing(&image))
    }

    #[test]
    fn a_policy_survives_its_encoding() {
        let policy = ImagePolicy { left: vec![[1; 32], [2; 32]], ..ImagePolicy::of_new_card(A) };
        let mut bytes = Vec::new();
        policy.encode(&mut bytes);
        bytes.push(7);
        assert_eq!(ImagePolicy::decode(&bytes), Some((policy, &[7][..])));
        for end in 0..bytes.len() - 1 {
            assert_eq!(ImagePolicy::decode(&bytes[..end]), None);
        }
        for (at, count) in [(32, 0), (32, 5), (33, 5)] {
            let mut wrong = bytes.clone();
            wrong[at] = count;
            wrong.resize(1000, 0);
            assert_eq!(ImagePolicy::decode(&wrong), None);
        }
    }

    #[test]
    fn an_allowed_image_shares_the_key_until_it_writes() {
        use ImageStanding::{Allowed, LeftBehind, NotAdopted, Settled};
        let mut policy = ImagePolicy::of_new_card(A);
        assert_eq!(standings(&policy, [A, B]), [Settled, NotAdopted]);
        policy.allow(B).unwrap();
        assert_eq!(standings(&policy, [A, B]), [Settled, Allowed]);
        let allowed = policy.clone();
        assert_eq!((policy.allow(B), policy.allow(A), policy.settle(A)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(policy, allowed, "nothing of it is news");
        policy.settle(B).unwrap();
        assert_eq!(standings(&policy, [A, B]), [LeftBehind, Settled]);
        let settled = policy.clone();
        assert_eq!((policy.allow(A), policy.settle(A)), (Err(super::LeftBehind), Err(super::LeftBehind)));
        assert_eq!((&policy, policy.id), (&settled, A), "the name of the sealed state stays");
    }

    #[test]
    fn of_many_images_the_latest_count() {
        let mut policy = ImagePolicy::of_new_card(A);
        (1..=5).for_each(|number| policy.allow(image(number)).unwrap());
        let standing = standings(&policy, [A, image(2), image(3), image(5)]);
        use ImageStanding::{Allowed, LeftBehind, NotAdopted, Settled};
        assert_eq!(standing, [Settled, NotAdopted, Allowed, Allowed]);
        (1..=5).for_each(|number| policy.settle(image(number)).unwrap());
        let standing = standings(&policy, [A, image(1), image(4), image(5)]);
        assert_eq!(standing, [NotAdopted, LeftBehind, LeftBehind, Settled]);
        let mut bytes = Vec::new();
        policy.encode(&mut bytes);
        assert_eq!(ImagePolicy::decode(&bytes), Some((policy, &[][..])));
    }

    /// A policy, and what the steps of this number, read in base 10, make of it: five images, allowed or settled.
    fn steps(number: u32) -> ImagePolicy {
        let digits = (0..5).map(|place| number / 10_u32.pow(place) % 10);
        digits.fold(ImagePolicy::of_new_card(image(0)), |before, digit| {
            let (mut after, image) = (before.clone(), image(digit as u8 / 2));
            let stepped = if digit % 2 == 0 { after.allow(image) } else { after.settle(image) };
            let left = before.standing(&image) == ImageStanding::LeftBehind;
            assert_eq!((stepped.is_err(), after == before || !left), (left, true));
            after
        })
    }

    #[test]
    fn no_steps_break_a_policy() {
        for number in 0..100_000 {
            let policy = steps(number);
            assert!(policy.left.iter().all(|image| !policy.allowed.contains(image)), "{policy:?}");
            let mut bytes = Vec::new();
            policy.encode(&mut bytes);
            assert_eq!(ImagePolicy::decode(&bytes), Some((policy, &[][..])));
        }
    }

    #[test]
    fn a_wrapped_key_says_its_policy() {
        let policy = ImagePolicy::of_new_card(B);
        let mut wrapped = WrappingKey { bucket: Bucket(7), generation: 1 }.prefix().to_vec();
        policy.encode(&mut wrapped);
        assert_eq!(ImagePolicy::alleged(&wrapped, A), Some(policy));
        assert_eq!(ImagePolicy::alleged(&[1, 9], A), Some(ImagePolicy::of_new_card(A)));
        for nothing in [&[][..], &[2, 7], &[3; 200], &wrapped[..wrapped.len() - 1]] {
            assert_eq!(ImagePolicy::alleged(nothing, A), None);
        }
    }
}
