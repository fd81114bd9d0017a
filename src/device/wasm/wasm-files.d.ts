/** A WebAssembly file imported as edge workers do: its default export is the compiled module. */
declare module '*.wasm' {
  const module: WebAssembly.Module
  export default module
}
