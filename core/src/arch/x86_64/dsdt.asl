// What the fixed board has, for ACPI. The addresses and interrupts are those of isa/board.h; a test
// compares them. Virtio-mmio devices are LNRO0005; all interrupts are edge-triggered, so that no
// end-of-interrupt exit is needed.
DefinitionBlock ("", "DSDT", 2, "SPORE ", "BOARD1  ", 1)
{
    Scope (\_SB)
    {
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate () {
                IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 4 }
            })
        }

#define SLOT(name, number, address, gsi)                                              \
        Device (name)                                                                 \
        {                                                                             \
            Name (_HID, "LNRO0005")                                                   \
            Name (_UID, number)                                                       \
            Name (_CCA, 1)                                                            \
            Name (_CRS, ResourceTemplate () {                                         \
                Memory32Fixed (ReadWrite, address, 0x1000)                            \
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { gsi }     \
            })                                                                        \
        }

        SLOT (VR00, 0, 0xD0000000, 5)
        SLOT (VR01, 1, 0xD0001000, 6)
        SLOT (VR02, 2, 0xD0002000, 7)
        SLOT (VR03, 3, 0xD0003000, 8)
        SLOT (VR04, 4, 0xD0004000, 9)
        SLOT (VR05, 5, 0xD0005000, 10)
        SLOT (VR06, 6, 0xD0006000, 11)
        SLOT (VR07, 7, 0xD0007000, 12)
        SLOT (VR08, 8, 0xD0008000, 13)

        // The virtual machine generation identifier: the `id` field of the generation page.
        Device (VGEN)
        {
            Name (_HID, "SPOR0001")
            Name (_CID, "VM_Gen_Counter")
            Name (_DDN, "VM_Gen_Counter")
            Name (ADDR, Package () { 0x000D0010, 0x00000000 })
        }

        // Tells the kernel that the identifier changed.
        Device (GED)
        {
            Name (_HID, "ACPI0013")
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate () {
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 14 }
            })
            Method (_EVT, 1, Serialized) { Notify (\_SB.VGEN, 0x80) }
        }
    }
}
