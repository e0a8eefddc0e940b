//! Which images may have a card's key. It is policy, not attestation: this launcher enforces it, and whoever can run
//! another launcher with the host's keys is not bound by it.

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

impl ImagePolicy {
    /// The policy of a card made with this image.
    pub fn of_new_card(image: Measurement) -> Self {
        Self { id: image, allowed: vec![image], left: Vec::new() }
    }

    /// True if this image may have the key.
    pub fn allows(&self, image: &Measurement) -> bool {
        self.allowed.contains(image)
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

    const A: Measurement = [0xA; 32];

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
}
