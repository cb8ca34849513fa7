export interface Figure {
  readonly value: number;
  readonly quartiles?: readonly number[];
  readonly aim?: readonly ['least' | 'most', number];
  readonly unit: string;
  readonly met?: boolean;
}

export interface Figures {
  readonly figures: Readonly<Record<string, Figure>>;
}

export function comparison(base: Figures, now: Figures): { lines: string[]; worse: string[] };
