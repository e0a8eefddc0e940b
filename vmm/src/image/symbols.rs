//! Names for addresses of the guest's code.

use std::ops::Range;

use elf::{ElfBytes, abi::STT_FUNC, endian::LittleEndian};

/// The image's functions in ascending order; empty for a stripped image.
#[derive(Default)]
pub struct Symbols {
    functions: Vec<Function>,
}

struct Function {
    code: Range<u64>,
    name: String,
}

impl Symbols {
    /// Reads the symbol table. A malformed one yields fewer names, not an error: names are only for the log.
    pub(super) fn read(elf: &ElfBytes<'_, LittleEndian>) -> Self {
        let Ok(Some((table, names))) = elf.symbol_table() else { return Self::default() };
        let functions = table.iter().filter(|symbol| symbol.st_symtype() == STT_FUNC);
        let mut functions: Vec<_> = functions
            .filter_map(|symbol| {
                let name = names.get(symbol.st_name as usize).ok()?.to_owned();
                let end = symbol.st_value.checked_add(symbol.st_size)?;
                Some(Function { code: symbol.st_value..end, name })
            })
            .collect();
        functions.sort_unstable_by_key(|function| function.code.start);
        Self { functions }
    }

    /// `symbol+offset` of the function that holds `address`; empty if none does.
    pub fn resolve(&self, address: u64) -> String {
        let after = self.functions.partition_point(|function| function.code.start <= address);
        let before = after.checked_sub(1).and_then(|at| self.functions.get(at));
        match before.filter(|function| function.code.contains(&address)) {
            Some(function) => format!("{}+{:#x}", function.name, address - function.code.start),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_named_by_the_function_that_holds_it() {
        let function = |code, name: &str| Function { code, name: name.to_owned() };
        let symbols =
            Symbols { functions: vec![function(0x10..0x20, "first"), function(0x30..0x40, "second")] };
        assert_eq!(symbols.resolve(0x10), "first+0x0");
        assert_eq!(symbols.resolve(0x3F), "second+0xf");
        for nowhere in [0, 0xF, 0x20, 0x2F, 0x40, u64::MAX] {
            assert_eq!(symbols.resolve(nowhere), "");
        }
    }
}
