//! Client architectures of option 93, by name, with what we do for each.

use std::fmt;

use super::Protocol;
use crate::domain::inventory::Firmware;

/// What we can do for an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    /// Legacy BIOS on x86: `undionly.kpxe`.
    Bios,
    /// UEFI on x86-64: `snponly.efi` or `ipxe.efi`.
    UefiX64,
    /// Proxmox VE does not run there: named and refused.
    Unserved,
}

macro_rules! architectures {
    ($($code:literal $name:ident $protocol:ident $platform:ident $words:literal;)*) => {
        /// Processor Architecture Types as IANA lists them (RFC 5970 section 3.3 and the registry behind it).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Architecture {
            $(#[doc = $words] $name,)*
            /// A number that the registry did not assign when this was written.
            Unassigned(u16),
        }

        impl Architecture {
            /// Every named architecture, in the order of the registry.
            pub const NAMED: &'static [Self] = &[$(Self::$name),*];

            /// From the number in option 93 or option 60.
            #[must_use]
            pub fn from_code(code: u16) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Unassigned(other),
                }
            }

            /// The number on the wire.
            #[must_use]
            pub fn code(self) -> u16 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unassigned(code) => code,
                }
            }

            /// How firmware of this architecture fetches its boot program.
            #[must_use]
            pub fn protocol(self) -> Protocol {
                match self {
                    $(Self::$name => Protocol::$protocol,)*
                    Self::Unassigned(_) => Protocol::Pxe,
                }
            }

            /// What we can do for it.
            #[must_use]
            pub fn platform(self) -> Platform {
                match self {
                    $(Self::$name => Platform::$platform,)*
                    Self::Unassigned(_) => Platform::Unserved,
                }
            }
        }

        impl fmt::Display for Architecture {
            /// The name in words.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($words),)*
                    Self::Unassigned(code) => write!(f, "unassigned architecture {code}"),
                }
            }
        }
    };
}

// 7 and 9 were swapped in RFC 4578 as first printed; firmware exists for both readings and all of it is x86-64.
architectures! {
    0 Bios Pxe Bios "BIOS";
    1 Pc98 Pxe Unserved "NEC PC98";
    2 Itanium Pxe Unserved "UEFI Itanium";
    3 DecAlpha Pxe Unserved "DEC Alpha";
    4 ArcX86 Pxe Unserved "Arc x86";
    5 IntelLeanClient Pxe Unserved "Intel Lean Client";
    6 UefiIa32 Pxe Unserved "UEFI IA32";
    7 UefiX64 Pxe UefiX64 "UEFI x64";
    8 UefiXscale Pxe Unserved "UEFI Xscale";
    9 UefiEbc Pxe UefiX64 "UEFI x64 (sent as EBC)";
    10 UefiArm32 Pxe Unserved "UEFI ARM32";
    11 UefiArm64 Pxe Unserved "UEFI ARM64";
    12 PowerPcOpenFirmware Pxe Unserved "PowerPC Open Firmware";
    13 PowerPcEpapr Pxe Unserved "PowerPC ePAPR";
    14 PowerOpal Pxe Unserved "POWER OPAL";
    15 HttpIa32 Http Unserved "UEFI IA32 HTTP";
    16 HttpX64 Http UefiX64 "UEFI x64 HTTP";
    17 HttpEbc Http UefiX64 "UEFI x64 HTTP (sent as EBC)";
    18 HttpArm32 Http Unserved "UEFI ARM32 HTTP";
    19 HttpArm64 Http Unserved "UEFI ARM64 HTTP";
    20 HttpBios Http Unserved "BIOS HTTP";
    21 UbootArm32 Pxe Unserved "U-Boot ARM32";
    22 UbootArm64 Pxe Unserved "U-Boot ARM64";
    23 HttpUbootArm32 Http Unserved "U-Boot ARM32 HTTP";
    24 HttpUbootArm64 Http Unserved "U-Boot ARM64 HTTP";
    25 UefiRiscv32 Pxe Unserved "UEFI RISC-V 32";
    26 HttpRiscv32 Http Unserved "UEFI RISC-V 32 HTTP";
    27 UefiRiscv64 Pxe Unserved "UEFI RISC-V 64";
    28 HttpRiscv64 Http Unserved "UEFI RISC-V 64 HTTP";
    29 UefiRiscv128 Pxe Unserved "UEFI RISC-V 128";
    30 HttpRiscv128 Http Unserved "UEFI RISC-V 128 HTTP";
    31 S390Basic Pxe Unserved "s390 basic";
    32 S390Extended Pxe Unserved "s390 extended";
    33 UefiMips32 Pxe Unserved "UEFI MIPS 32";
    34 UefiMips64 Pxe Unserved "UEFI MIPS 64";
    35 UefiSunway32 Pxe Unserved "UEFI Sunway 32";
    36 UefiSunway64 Pxe Unserved "UEFI Sunway 64";
    37 UefiLoongArch32 Pxe Unserved "UEFI LoongArch 32";
    38 HttpLoongArch32 Http Unserved "UEFI LoongArch 32 HTTP";
    39 UefiLoongArch64 Pxe Unserved "UEFI LoongArch 64";
    40 HttpLoongArch64 Http Unserved "UEFI LoongArch 64 HTTP";
    41 RaspberryPi Pxe Unserved "Raspberry Pi boot ROM";
}

impl Architecture {
    /// The firmware interface behind it, where it is one of the two that a host record knows.
    #[must_use]
    pub fn firmware(self) -> Option<Firmware> {
        match self.code() {
            0 | 20 => Some(Firmware::Bios),
            2 | 6..=11 | 15..=19 | 25..=30 | 33..=40 => Some(Firmware::Uefi),
            _ => None,
        }
    }
}
