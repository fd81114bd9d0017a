import { describe, RoutedAttentionError } from '../../errors.js'
import { isStated } from './config-keys.js'
import type { ConfigOf, OptionSpec, Schema } from './schema.js'

/** Reads an options object or a config.json, checking each value as it is read. Inherited properties are ignored. */
export class ConfigFields {
  /**
   * @param where prefix of option names in messages
   * @param spell returns an option's key in the record
   */
  constructor(
    private readonly record: Record<string, unknown>,
    private readonly where: string,
    private readonly spell: (name: string, spec: OptionSpec) => string,
  ) {}

  /** An option's name in messages. */
  name(schema: Schema, option: string): string {
    return this.where + this.spell(option, schema[option]!)
  }

  /** All options of a schema except ignored ones, with defaults filled in. */
  readAll<Table extends Schema>(schema: Table): ConfigOf<Table> {
    const config: Record<string, unknown> = {}
    for (const [option, spec] of Object.entries(schema)) {
      const value = this.read(schema, option)
      if (!spec.isIgnored && value !== undefined) config[option] = value
    }
    return config as ConfigOf<Table>
  }

  /** @throws RoutedAttentionError `BAD_CONFIG` for a missing or invalid option */
  read(schema: Schema, option: string): unknown {
    const spec = schema[option]!
    const key = this.spell(option, spec)
    const value = this.readKey(schema, spec, key)
    if (spec.alias === undefined || !isStated(this.record, spec.alias)) return value
    const aliased = this.readKey(schema, spec, spec.alias)
    if (isStated(this.record, key) && value !== aliased) {
      const names = `${this.where}${key} and ${spec.alias}`
      throw badConfig(`${names} are two names of one thing, the ${spec.sentence}; got ${describe(value)} and ${describe(aliased)}`)
    }
    return aliased
  }

  private readKey(schema: Schema, spec: OptionSpec, key: string): unknown {
    const stated = isStated(this.record, key) ? this.record[key] : undefined
    if (spec.inherits !== undefined && (stated ?? undefined) === undefined) return this.inherit(schema, spec, key)
    if (spec.isOptional && (stated ?? undefined) === undefined) return undefined
    if (stated === undefined) {
      if (spec.default === undefined) throw badConfig(`${this.where}${key} is missing`)
      return spec.default
    }
    if (stated === null && spec.default === null) return null
    const value = spec.rule.parse(stated)
    if (value === undefined) throw badConfig(`${this.where}${key} must be ${spec.rule.words}; got ${describe(stated)}`)
    return value
  }

  private inherit(schema: Schema, { rule, inherits }: OptionSpec, key: string): unknown {
    const value = this.read(schema, inherits!)
    if (rule.parse(value) === undefined)
      throw badConfig(`${this.where}${key} must be given, ${rule.range}, when ${this.name(schema, inherits!)} is ${describe(value)}`)
    return value
  }
}

export function badConfig(message: string): RoutedAttentionError {
  return new RoutedAttentionError('BAD_CONFIG', message)
}
