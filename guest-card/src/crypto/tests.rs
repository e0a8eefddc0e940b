//! Published vectors, and every operation against the crates' own verification.

use alloc::vec::Vec;

use ::p256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier};
use ::rsa::{BoxedUint, Pkcs1v15Sign, RsaPublicKey};
use cardhost_wire::key::Algorithm;
use hex::decode;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::*;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([0x5A; 32])
}

fn keys() -> impl Iterator<Item = PrivateKey> {
    Algorithm::ALL.into_iter().map(|algorithm| PrivateKey::generate(algorithm, &mut rng()).unwrap())
}

#[test]
fn a_stored_key_is_the_same_key() {
    for key in keys() {
        let back = PrivateKey::from_bytes(key.algorithm(), &key.to_bytes()).unwrap();
        assert!(back.public_key() == key.public_key() && back.to_bytes() == key.to_bytes());
    }
}

#[test]
fn malformed_stored_keys_are_refused() {
    for algorithm in Algorithm::ALL {
        for length in [0, 1, 31, 32, 33, 48, 255, 256, 384, 500] {
            assert!(
                PrivateKey::from_bytes(algorithm, &alloc::vec![0; length]).is_err(),
                "{algorithm} {length}"
            );
        }
    }
    for bad in [&[0xFF; 32][..], &[0; 32], &[1; 31], &[1; 33], &[]] {
        assert!(PrivateKey::from_bytes(Algorithm::P256, bad).is_err());
        assert!(AgreementKey::from_bytes(bad).is_err());
    }
    assert!(PrivateKey::from_bytes(Algorithm::P384, &[0xFF; 48]).is_err());
}

#[test]
fn p256_signatures_verify_for_every_digest_length() {
    let key = PrivateKey::generate(Algorithm::P256, &mut rng()).unwrap();
    let verifier = VerifyingKey::from_sec1_bytes(key.public_key().as_bytes()).unwrap();
    for length in [20, 28, 32, 48, 64] {
        let digest: Vec<u8> = (0..length).collect();
        let signature = key.sign_digest(&digest, &mut rng()).unwrap();
        let mut padded = alloc::vec![0; 32usize.saturating_sub(digest.len())];
        padded.extend(&digest);
        verifier.verify_prehash(&padded, &Signature::from_der(&signature).unwrap()).unwrap();
    }
}

#[test]
fn p384_signatures_verify_for_every_digest_length() {
    use ::p384::ecdsa::{Signature, VerifyingKey};
    let key = PrivateKey::generate(Algorithm::P384, &mut rng()).unwrap();
    let verifier = VerifyingKey::from_sec1_bytes(key.public_key().as_bytes()).unwrap();
    for length in [20, 28, 32, 48, 64] {
        let digest: Vec<u8> = (0..length).collect();
        let signature = key.sign_digest(&digest, &mut rng()).unwrap();
        let mut padded = alloc::vec![0; 48usize.saturating_sub(digest.len())];
        padded.extend(&digest);
        verifier.verify_prehash(&padded, &Signature::from_der(&signature).unwrap()).unwrap();
    }
}

#[test]
fn other_digest_lengths_are_refused() {
    for key in keys() {
        for length in [0, 1, 19, 31, 33, 47, 49, 63, 65] {
            assert_eq!(key.sign_digest(&alloc::vec![1; length], &mut rng()), Err(CryptoError::WrongLength));
        }
    }
}

/// RFC 6979, A.2.5: the public key of the example.
#[test]
fn rfc_6979_key() {
    let scalar = decode("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721").unwrap();
    let key = PrivateKey::from_bytes(Algorithm::P256, &scalar).unwrap();
    let point = decode(
        "0460FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6\
         7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
    );
    assert_eq!(key.public_key().as_bytes(), point.unwrap());
}

#[test]
fn nonces_are_hedged() {
    for algorithm in [Algorithm::P256, Algorithm::P384] {
        let mut rng = rng();
        let key = PrivateKey::generate(algorithm, &mut rng).unwrap();
        assert_ne!(key.sign_digest(&[7; 32], &mut rng), key.sign_digest(&[7; 32], &mut rng));
    }
}

/// NIST CAVP, ECC CDH primitive (SP 800-56A), P-256, count 0 and P-384, count 0.
#[test]
fn ecdh_vectors() {
    let vectors = [
        (
            Algorithm::P256,
            "7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534",
            "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287\
             db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac",
            "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b",
        ),
        (
            Algorithm::P384,
            "3cc3122a68f0d95027ad38c067916ba0eb8c38894d22e1b15618b6818a661774ad463b205da88cf699ab4d43c9cf98a1",
            "04a7c76b970c3b5fe8b05d2838ae04ab47697b9eaf52e764592efda27fe7513272\
             734466b400091adbf2d68c58e0c50066ac68f19f2e1cb879aed43a9969b91a0839\
             c4c38a49749b661efedf243451915ed0905a32b060992b468c64766fc8437a",
            "5f9d29dc5e31a163060356213669c8ce132e22f57c9a04f40ba7fcead493b457e5621e766c40a2e3d4d6a04b25e533f1",
        ),
    ];
    for (algorithm, scalar, peer, shared) in vectors {
        let key = PrivateKey::from_bytes(algorithm, &decode(scalar).unwrap()).unwrap();
        assert_eq!(*key.agree(&decode(peer).unwrap()).unwrap(), decode(shared).unwrap());
        if algorithm == Algorithm::P256 {
            let stored = AgreementKey::from_bytes(&key.to_bytes()).unwrap();
            assert_eq!(*stored.agree(&decode(peer).unwrap()).unwrap(), decode(shared).unwrap());
        }
    }
}

#[test]
fn ecdh_agrees_with_itself() {
    for algorithm in [Algorithm::P256, Algorithm::P384] {
        let mut rng = rng();
        let a = PrivateKey::generate(algorithm, &mut rng).unwrap();
        let b = PrivateKey::generate(algorithm, &mut rng).unwrap();
        assert!(a.agree(b.public_key().as_bytes()).unwrap() == b.agree(a.public_key().as_bytes()).unwrap());
    }
}

#[test]
fn bad_points_are_refused() {
    for algorithm in [Algorithm::P256, Algorithm::P384] {
        let key = PrivateKey::generate(algorithm, &mut rng()).unwrap();
        let good = key.public_key().as_bytes().to_vec();
        let mut off_curve = good.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        let mut compressed = good[..=good.len() / 2].to_vec();
        compressed[0] = 2 | good[good.len() - 1] & 1;
        let too_big = [&[4][..], &alloc::vec![0xFF; good.len() - 1]].concat();
        let zero = [&[4][..], &alloc::vec![0; good.len() - 1]].concat();
        for bad in [off_curve, compressed, too_big, zero, alloc::vec![0], Vec::new(), good[1..].to_vec()] {
            assert!(key.agree(&bad).is_err());
            let stored = AgreementKey::from_bytes(&key.to_bytes()).ok();
            assert!(stored.is_none_or(|stored| stored.agree(&bad).is_err()));
        }
    }
}

#[test]
fn raw_rsa_is_undone_by_the_public_key() {
    for algorithm in [Algorithm::Rsa2048, Algorithm::Rsa3072] {
        let mut rng = rng();
        let key = PrivateKey::generate(algorithm, &mut rng).unwrap();
        let modulus = key.public_key().as_bytes().to_vec();
        let mut message = alloc::vec![0; modulus.len()];
        rng.fill_bytes(&mut message[1..]);
        let signed = key.raw_rsa(&message, &mut rng).unwrap();
        let public = public_rsa(&modulus);
        let number = BoxedUint::from_be_slice(&signed, modulus.len() as u32 * 8).unwrap();
        assert_eq!(::rsa::hazmat::rsa_encrypt(&public, &number).unwrap().to_be_bytes()[..], message);
        assert_eq!(key.raw_rsa(&message[1..], &mut rng), Err(CryptoError::WrongLength));
        assert_eq!(key.raw_rsa(&modulus, &mut rng), Err(CryptoError::OutOfRange));
    }
}

fn public_rsa(modulus: &[u8]) -> RsaPublicKey {
    RsaPublicKey::new(BoxedUint::from_be_slice_vartime(modulus), BoxedUint::from(65_537_u32)).unwrap()
}

#[test]
fn messages_are_signed_as_the_algorithm_identifier_says() {
    for key in keys() {
        let signature = key.sign_message(b"message", &mut rng()).unwrap();
        if let Algorithm::Rsa2048 | Algorithm::Rsa3072 = key.algorithm() {
            let scheme = Pkcs1v15Sign::new::<Sha256>();
            let public = public_rsa(key.public_key().as_bytes());
            public.verify(scheme, &Sha256::digest(b"message"), &signature).unwrap();
        }
        assert_eq!(key.public_key().signature_algorithm().oid.arc(0), Some(1));
    }
}

#[test]
fn spki_is_what_other_libraries_read() {
    use ::rsa::pkcs8::DecodePublicKey;
    for key in keys() {
        let public = key.public_key();
        let der = public.to_spki_der();
        match public.algorithm() {
            Algorithm::P256 => drop(::p256::PublicKey::from_public_key_der(&der).unwrap()),
            Algorithm::P384 => drop(::p384::PublicKey::from_public_key_der(&der).unwrap()),
            _ => assert!(RsaPublicKey::from_public_key_der(&der).unwrap() == public_rsa(public.as_bytes())),
        }
    }
}

/// FIPS 197 (AES) appendix C, SP 800-67 appendix B (TDEA).
#[test]
fn block_cipher_vectors() {
    let vectors = [
        (CipherAlgorithm::Aes128, 16, "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"),
        (CipherAlgorithm::Aes192, 24, "00112233445566778899aabbccddeeff", "dda97ca4864cdfe06eaf70a0ec0d7191"),
        (CipherAlgorithm::Aes256, 32, "00112233445566778899aabbccddeeff", "8ea2b7ca516745bfeafc49904b496089"),
    ];
    for (algorithm, length, plain, sealed) in vectors {
        let key: Vec<u8> = (0..length).collect();
        check_block(&BlockCipher::new(algorithm, &key).unwrap(), &decode(plain).unwrap(), sealed);
    }
    let key = decode("0123456789abcdef23456789abcdef01456789abcdef0123").unwrap();
    let cipher = BlockCipher::new(CipherAlgorithm::TripleDes, &key).unwrap();
    check_block(&cipher, b"The qufc", "a826fd8ce53b855f");
}

fn check_block(cipher: &BlockCipher, plain: &[u8], sealed: &str) {
    let mut block = plain.to_vec();
    cipher.encrypt(&mut block).unwrap();
    assert_eq!(hex::encode(&block), sealed);
    cipher.decrypt(&mut block).unwrap();
    assert_eq!(block, plain);
    assert_eq!(cipher.encrypt(&mut block[1..]), Err(CryptoError::WrongLength));
}
