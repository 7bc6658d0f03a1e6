import matplotlib.pyplot as plt
import pandas as pd

df = pd.read_csv("/home/daytona/dataset.csv")
for column in ("year", "price_in_euro"):
    df[column] = pd.to_numeric(df[column], errors="coerce")
df = df.dropna(subset=["year", "price_in_euro"])
low, high = df["price_in_euro"].quantile([0.01, 0.99])
df = df[df["price_in_euro"].between(low, high) & df["year"].between(1950, 2030)]
mean = df.groupby(df["year"].astype(int))["price_in_euro"].mean()

plt.figure(figsize=(10, 6))
plt.plot(mean.index, mean.values, marker="o")
plt.title("Average price by manufacturing year")
plt.xlabel("Year")
plt.ylabel("Price (EUR)")
plt.grid(True)
plt.show()
