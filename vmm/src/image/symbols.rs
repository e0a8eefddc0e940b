//! Names for addresses of the guest's code.

use elf::{ElfBytes, abi::STT_FUNC, endian::LittleEndian};

/// The image's functions in ascending order; empty for a stripped image.
#[derive(Default)]
pub struct Symbols {
    functions: Vec<(u64, String)>,
}

impl Symbols {
    /// Reads the symbol table. A malformed one yields fewer names, not an error: names are only for the log.
    pub(super) fn read(elf: &ElfBytes<'_, LittleEndian>) -> Self {
        let Ok(Some((table, names))) = elf.symbol_table() else { return Self::default() };
        let mut functions: Vec<_> = table
            .iter()
            .filter(|symbol| symbol.st_symtype() == STT_FUNC)
            .filter_map(|symbol| Some((symbol.st_value, names.get(symbol.st_name as usize).ok()?.to_owned())))
            .collect();
        functions.sort_unstable();
        Self { functions }
    }

    /// `symbol+offset` of the function that holds `address`; empty if none is known.
    pub fn resolve(&self, address: u64) -> String {
        let after = self.functions.partition_point(|(start, _)| *start <= address);
        match after.checked_sub(1).and_then(|at| self.functions.get(at)) {
            Some((start, name)) => format!("{name}+{:#x}", address - start),
            None => String::new(),
        }
    }
}
