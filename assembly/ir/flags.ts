/*
 * What a device's own copy of a program says in an op's first word beside the opcode.
 */

/** The bits that leave the opcode. */
export const OPCODE_MASK = 0xffff

/**
 * Threads need not meet behind the op: what follows touches nothing that other partitions of it wrote or still read.
 */
export const SKIPS_BARRIER = 0x10000
/**
 * Start of a serialized section, which lasts to the next op with `ENDS_SERIALIZED`: a dispatch waits here until its
 * predecessor has left the section.
 */
export const BEGINS_SERIALIZED = 0x20000
export const ENDS_SERIALIZED = 0x40000
