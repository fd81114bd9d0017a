import { describe, expect, it } from 'vitest'
import {
  chooseProductShape,
  productOf,
  productShapes,
  type ProductShapeName,
} from '../../src/device/webgpu/kernels/matmul/product-shapes.js'
import { productTile } from '../../src/device/webgpu/kernels/matmul/product-tiles.js'
import { productRows } from '../../src/device/webgpu/kernels/matmul/product-rows.js'

const names = Object.keys(productShapes) as ProductShapeName[]

/** The bytes of all workgroup arrays of a text, from their nested types: array<array<vec4f, 16>, 2> is 512. */
function workgroupBytes(declarations: string): number {
  const types = [...declarations.matchAll(/var<workgroup> \w+: (.*);/g)].map((match) => match[1] ?? '')
  expect(types.length).toBe(2)
  return types.reduce((total, type) => total + [...type.matchAll(/, (\d+)>/g)].reduce((bytes, match) => bytes * Number(match[1]), 16), 0)
}

describe('the shapes of WebGPU products', () => {
  it.each(names)('%s fits the limits that every WebGPU device has', (name) => {
    const product = productOf(name)
    expect(product.threads).toBeLessThanOrEqual(256)
    expect(workgroupBytes(product.declarations)).toBeLessThanOrEqual(16384)
  })

  it.each(names)('%s adds to each sum at one place per k, with fma', (name) => {
    const { body } = productOf(name)
    const sums = body.match(/^\s*(c\d+_\d|sum) = .*$/gm) ?? []
    expect(sums.length).toBeGreaterThan(0)
    for (const line of sums) expect(line).toMatch(/(c\d+_\d|sum) = fma\(vec4f\(a\d*\.[xyzw]\), .+, \1\);/)
  })

  it('rejects a shape that cannot be divided between its invocations', () => {
    expect(() => productTile({ rows: 128, columns: 128, depth: 8, threadRows: 8, threadColumns: 8 })).toThrow(
      'No product tile has this shape',
    )
    expect(() => productTile({ rows: 16, columns: 16, depth: 16, threadRows: 8, threadColumns: 8 })).toThrow(
      'No product tile has this shape',
    )
    expect(() => productRows({ rows: 16, columns: 32, depth: 64, threads: 64 })).toThrow('No product of few rows has this shape')
  })

  it('uses larger tiles for larger products and never more workgroups per dimension than a device allows', () => {
    expect(chooseProductShape(16384, 768)).toBe('large')
    expect(chooseProductShape(4000, 768)).toBe('middle')
    expect(chooseProductShape(4000, 256)).toBe('medium')
    expect(chooseProductShape(128, 768)).toBe('small')
    expect(chooseProductShape(64, 768)).toBe('rows16')
    expect(chooseProductShape(1, 768)).toBe('rows4')
    expect(chooseProductShape(1, 32768)).toBe('rows1Wide')
    for (const rows of [1, 2, 4, 5, 16, 17, 64, 65, 1000, 100_000])
      for (const columns of [8, 256, 4088, 4096, 65_536, 1_000_000]) {
        const product = productOf(chooseProductShape(rows, columns))
        expect(Math.ceil(rows / product.rows)).toBeLessThanOrEqual(65_535)
        expect(Math.ceil(columns / product.columns)).toBeLessThanOrEqual(65_535)
      }
  })
})
