// ACPI tables of the board (ACPI 6.4): RSDP, XSDT, FADT (hardware-reduced), MADT, DSDT.
#pragma once

#include <cstdint>

#include "memory/guest_memory.h"

namespace spore::isa {

// Writes the tables at kAcpiTables and returns the address of the RSDP.
memory::GuestAddress write_acpi_tables(const memory::GuestMemory& memory, std::uint32_t cpus);

}  // namespace spore::isa
