/**
 * The Nix side of discovery: a flake of ours that has the user's flake as its input and one output, the answer.
 *
 * A wrapper flake, because it is the one way that is pure, works alike from 2.8 on, and takes flakes without a lock
 * file: `builtins.getFlake` wants a complete lock, and `nix eval REF#` cannot name the root of the outputs in 2.8.
 * It is evaluated from a temporary directory with --no-write-lock-file, so nothing is written next to the user's.
 *
 * `builtins.tryEval` contains `throw` and `assert` only. Everything else (abort, type errors, missing attributes,
 * endless recursion) ends the evaluation, and discover.ts then narrows down whose fault it was.
 */

export const KINDS = [
  'packages',
  'nixosConfigurations',
  'devShells',
  'checks',
  'homeConfigurations',
  'darwinConfigurations',
  'formatter',
  'apps',
  'hydraJobs',
] as const;
export type OutputKind = (typeof KINDS)[number];
/** What an output is of: also of a Nix expression without a flake. */
export type SourceKind = OutputKind | 'file';
export const DEFAULT_KINDS: readonly OutputKind[] = ['packages', 'nixosConfigurations', 'devShells'];

/** An attribute set of the flake in which outputs are to be looked for. */
export interface Scope {
  readonly kind: SourceKind;
  readonly path: readonly string[];
  /**
   * What lies in it: outputs by name, one output a system, sets of outputs by system, sets of sets to any depth, or what
   * nix-build takes; `member` is a part of that, which it looks into only when asked to.
   */
  readonly shape: (typeof SHAPES)[number];
}

export const SHAPES = ['byName', 'oneBySystem', 'bySystem', 'tree', 'file', 'member'] as const;

/** One output to be evaluated. */
export interface Target {
  readonly kind: SourceKind;
  readonly path: readonly string[];
}

/** Where the outputs of each kind lie; the singular attributes are those of flakes from before Nix 2.7. */
export const SCOPES: readonly Scope[] = [
  { kind: 'packages', path: ['packages'], shape: 'bySystem' },
  { kind: 'packages', path: ['defaultPackage'], shape: 'oneBySystem' },
  { kind: 'nixosConfigurations', path: ['nixosConfigurations'], shape: 'byName' },
  { kind: 'devShells', path: ['devShells'], shape: 'bySystem' },
  { kind: 'devShells', path: ['devShell'], shape: 'oneBySystem' },
  { kind: 'checks', path: ['checks'], shape: 'bySystem' },
  { kind: 'homeConfigurations', path: ['homeConfigurations'], shape: 'byName' },
  { kind: 'darwinConfigurations', path: ['darwinConfigurations'], shape: 'byName' },
  { kind: 'formatter', path: ['formatter'], shape: 'oneBySystem' },
  { kind: 'apps', path: ['apps'], shape: 'bySystem' },
  { kind: 'apps', path: ['defaultApp'], shape: 'oneBySystem' },
  { kind: 'hydraJobs', path: ['hydraJobs'], shape: 'tree' },
];

/** A question to the flake; `systems` undefined means every system it has. */
export type Question =
  | { readonly ask: 'root' }
  | { readonly ask: 'nixConfig'; readonly directory: string }
  | { readonly ask: 'names' | 'all'; readonly scopes: readonly Scope[]; readonly systems?: readonly string[] }
  | { readonly ask: 'outputs'; readonly targets: readonly Target[] };

/** The wrapper's other file, by a name that no flake has: what Nix says of it is nothing to its author. */
export const ANSWER_FILE = 'nixcache-answer.nix';

/** The text of the wrapper's flake.nix: `answer` is the answer to `question` about the flake at `lockedUrl`. */
export const wrapperFlake = (lockedUrl: string, question: Question): string => `{
  inputs.target.url = ${nixString(lockedUrl)};
  outputs = { self, target }: {
    answer = import ./${ANSWER_FILE} target (builtins.fromJSON ${nixString(JSON.stringify(question))});
  };
}
`;

/** The same of a Nix expression without a flake, in the file at the absolute path `file`. */
export const wrapperFile = (file: string, question: Question): string => `{
  answer = import ./${ANSWER_FILE} (import ${nixString(file)}) (builtins.fromJSON ${nixString(JSON.stringify({ ...question, file: true }))});
}
`;

/** A Nix string literal: JSON's escapes are Nix's, but for the dollar sign. */
const nixString = (text: string): string => JSON.stringify(text).replaceAll('$', '\\$');

/** The text of ANSWER_FILE. It has no string interpolation, so that this literal needs no escapes. */
export const ANSWER_NIX = `flake: question:
let
  inherit (builtins) attrNames concatMap deepSeq elem elemAt filter foldl' fromJSON functionArgs genList getAttr
    getContext hasAttr head isAttrs isFunction isList isString length listToAttrs map match toString tryEval typeOf
    unsafeDiscardStringContext;

  # Without a flake, what is met on the way may be a list, or a function: nix-build calls it with its defaults.
  isFile = question.file or false;
  at = foldl' (set: name: let opened = open set; in if isList opened then elemAt opened (fromJSON name) else getAttr name opened) flake;
  open = value:
    if !isFile || !isFunction value then value
    else
      let lacking = filter (name: !getAttr name (functionArgs value)) (attrNames (functionArgs value)); in
      if lacking == [ ] then value { }
      else throw ("it is a function that wants a value for " + head lacking + ", and nobody gives one: name a file that calls it");
  members = value:
    if isList value then genList toString (length value)
    else if isAttrs value then attrNames value
    else throw ("it is neither a derivation nor a set or list of those, but a value of type " + typeOf value);
  isDerivation = value: isAttrs value && (value.type or null) == "derivation";
  wanted = names: if question ? systems then filter (name: elem name question.systems) names else names;

  # { kind, path } of every output in a scope, looking at values no more than that needs.
  namesOf = { kind, path, shape }:
    let
      set = open (at path);
      below = names: map (name: { inherit kind; path = path ++ [ name ]; }) names;
    in
    if !isFile && length path == 1 && !hasAttr (head path) flake then [ ]
    else if shape == "file" then everyMember set { inherit kind path; }
    else if shape == "member" then member (isList (open (at (init path)))) { inherit kind path; }
    else if shape == "byName" then below (members set)
    else if shape == "oneBySystem" then below (wanted (attrNames set))
    else if shape == "tree" then concatMap (branch kind) (below (attrNames set))
    else concatMap (inner: namesOf { inherit kind; inherit (inner) path; shape = "byName"; }) (below (wanted (attrNames set)));
  # As nix-build finds derivations: in a set that is in another only where that says recurseForDerivations.
  everyMember = value: { kind, path }:
    if isDerivation value then [ { inherit kind path; } ]
    else concatMap (name: member (isList value) { inherit kind; path = path ++ [ name ]; }) (members value);
  member = isListed: target:
    let
      value = at target.path;
      isEntered = if isAttrs value then isListed || (value.recurseForDerivations or false) == true else isListed;
      looked = tryEval (if isDerivation value then "output" else if isEntered then "set" else "other");
      inner = tryEval (let found = everyMember (open value) target; in deepSeq found found);
    in
    if !looked.success || looked.value == "output" then [ target ]
    else if looked.value == "other" then [ ]
    else if inner.success then inner.value
    else [ target ];
  init = list: genList (elemAt list) (length list - 1);
  # A value that throws is an output, so that it is reported; one that is no set is none.
  branch = kind: target:
    let looked = tryEval (if isDerivation (at target.path) then "output" else if isAttrs (at target.path) then "set" else "other"); in
    if !looked.success || looked.value == "output" then [ target ]
    else if looked.value == "set" then namesOf (target // { shape = "tree"; })
    else [ ];

  # The derivation that an output stands for.
  toDerivation = {
    file = open;
    packages = value: value;
    checks = value: value;
    formatter = value: value;
    hydraJobs = value: value;
    devShells = value: value.inputDerivation or value;
    nixosConfigurations = value: value.config.system.build.toplevel;
    darwinConfigurations = value: value.config.system.build.toplevel or value.system;
    homeConfigurations = value: value.activationPackage;
  };
  describe = derivation: {
    inherit (derivation) name system;
    drvPath = unsafeDiscardStringContext derivation.drvPath;
    outputs = listToAttrs (map
      (name: { inherit name; value = unsafeDiscardStringContext (getAttr name derivation).outPath; })
      (derivation.outputs or [ "out" ]));
  };
  # An app is a string that mentions what was built: its context says which derivation and which of its outputs.
  describeApp = path: value:
    let
      program = if isAttrs value && value ? program then value.program else value;
      text = if isString program then program else toString program;
      context = getContext text;
      drvs = filter (key: hasAttr "outputs" (getAttr key context)) (attrNames context);
      outPath = match "(/.*/[0-9a-z]{32}-([^/]+))(/.*)?" (unsafeDiscardStringContext text);
    in
    if drvs == [ ] || outPath == null then throw "its program is not inside anything that a derivation builds"
    else {
      name = elemAt outPath 1;
      system = elemAt path 1;
      drvPath = head drvs;
      outputs = listToAttrs [ { name = head (getAttr (head drvs) context).outputs; value = head outPath; } ];
    };
  outputOf = { kind, path }:
    if kind == "apps" then describeApp path (at path)
    else
      let derivation = (getAttr kind toDerivation) (at path); in
      if isDerivation derivation then describe derivation else throw "it is not a derivation";

  careful = value: let result = tryEval (deepSeq value value); in if result.success then { inherit (result) value; } else { };
  # What is asked for singly is evaluated without a net, for the sake of its error.
  perhaps = list: if length list == 1 then value: { inherit value; } else careful;
  named = net: map (scope: { inherit scope; result = net (namesOf scope); }) question.scopes;
  evaluated = net: map (target: { inherit (target) kind path; result = net (outputOf target); });
in
getAttr question.ask {
  root = if isFile then [ (typeOf flake) ] else attrNames flake;
  nixConfig = (import (flake.sourceInfo.outPath + "/" + question.directory + "/flake.nix")).nixConfig or { };
  names = named (perhaps question.scopes);
  all = map (found: found // { outputs = evaluated careful (found.result.value or [ ]); }) (named careful);
  outputs = evaluated (perhaps question.targets) question.targets;
}
`;
