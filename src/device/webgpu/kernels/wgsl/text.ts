/** The components of a WGSL vector, in order. */
export const components = ['x', 'y', 'z', 'w'] as const

export const each = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index))

/** Concatenates one or more lines of text per index. */
export const lines = (count: number, make: (index: number) => string): string => each(count, make).join('\n')
