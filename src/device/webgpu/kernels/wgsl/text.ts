/** The components of a WGSL vector, in order. */
export const parts = ['x', 'y', 'z', 'w'] as const

export const each = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index))

/** One piece of text for each index, a line or more each. */
export const lines = (count: number, make: (index: number) => string): string => each(count, make).join('\n')
