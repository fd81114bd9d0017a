/*
 * Flags in an op's first word, next to the opcode, in a device's own copy of a program.
 */

/** Mask of the opcode. */
export const OPCODE_MASK = 0xffff

/**
 * No barrier after the op: the next one touches nothing that other partitions have written or may still read.
 */
export const SKIPS_BARRIER = 0x10000
/**
 * Start of a serialized section, which lasts to the next op with `ENDS_SERIALIZED`: a dispatch waits here until its
 * predecessor has left the section.
 */
export const BEGINS_SERIALIZED = 0x20000
export const ENDS_SERIALIZED = 0x40000
